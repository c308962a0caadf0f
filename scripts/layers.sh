#!/usr/bin/env bash
# Imports inside diset-proto point down: a module may use modules of its own rank and below, never above.
# lib.rs is exempt (it re-exports), as are tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../diset-proto/src"

# rank modules
RANKS='
0 limits id time definition status error fmt
1 wire serial
2 schema message store session recording
3 conn replay
4 drive reconnect
5 sim
'

# shellcheck disable=SC2016  # the quoted program is Perl
find . -name '*.rs' ! -path ./lib.rs ! -name tests.rs ! -path '*/tests/*' -print0 | sort -z |
  RANKS=$RANKS xargs -0 -r perl -e '
use strict;
use warnings;

my (%rank, $bad);
for (split /\n/, $ENV{RANKS}) {
    my ($rank, @modules) = split;
    $rank{$_} = $rank for @modules;
}

sub complain { print "diset-proto/src/$_[0]:$_[1]: $_[2]\n"; $bad = 1 }

# The first names of the paths in a use tree: a, or each of {a::b, c::{d, e}}.
sub heads {
    my ($tree) = @_;
    return $tree =~ /^(\w+!?)/ unless $tree =~ s/^\{//;
    1 while $tree =~ s/\{[^{}]*\}(?=.*\})//s;    # nested lists name nothing new
    $tree =~ s/\}.*//s;
    return map { /^\s*(\w+)/ } split /,/, $tree;
}

for my $file (@ARGV) {
    open my $in, "<", $file or die "$file: $!";
    my $text = do { local $/; <$in> };
    $file =~ s{^\./}{};
    my ($module) = $file =~ m{^([^/.]+)};
    if (!exists $rank{$module}) { complain($file, 1, "module `$module` has no rank in scripts/layers.sh"); next }
    $text =~ s{^#\[cfg\((?:all\()?test.*}{}ms;    # the tests at the end of the file
    $text =~ s{//[^\n]*}{}g;
    my $root = $file =~ m{/(?!mod\.rs$)} ? qr/(?<!\$)\bcrate::/ : qr/(?<!\$)\b(?:crate|super)::/;
    while ($text =~ /$root(\w+!?|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g) {
        my $tree = $1;
        my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
        for my $used (heads($tree)) {
            next if $used =~ /!$/;    # a macro has no module
            if ($used =~ /^[A-Z]/) { complain($file, $line, "`$used`: import it from its module, not from the crate root") }
            elsif (!exists $rank{$used}) { complain($file, $line, "`$used` has no rank in scripts/layers.sh") }
            elsif ($rank{$used} > $rank{$module}) { complain($file, $line, "`$module` (rank $rank{$module}) uses `$used` (rank $rank{$used})") }
        }
    }
}
exit($bad ? 1 : 0);
'
