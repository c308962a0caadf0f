#!/usr/bin/env bash
# Every rule of PROTOCOL.md is kept by code and proven by a test. A rule, that is a paragraph, list item or table row
# with a MUST, defines its tag in brackets, [F-1]; elsewhere the tag stands bare, F-1. Code cites it in a comment of a
# */src file, a test in a file under tests/, a tests.rs or the test module at the end of a source file.
# A rule that is laid out and not built yet says so in the brackets, [C-1, reserved]. These are listed at the end, and need
# no citation; whoever builds one takes the word out, and must when code and a test cite it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -f PROTOCOL.md ]] || { echo "there is no PROTOCOL.md"; exit 1; }

# shellcheck disable=SC2016  # the quoted program is Perl
find . \( -name target -o -name .git \) -prune -o -name '*.rs' \( -path '*/src/*' -o -path '*/tests/*' \) -print0 | sort -z |
  xargs -0 perl -e '
use strict;
use warnings;

my ($bad, %rule, %reserved, %section, %code, %test) = (0);
sub complain { print "@_\n"; $bad = 1 }
sub slurp { open my $in, "<", $_[0] or die "$_[0]: $!"; local $/; return <$in> }

my ($line, $fenced) = (0, 0);
my ($block, $start) = ("", 1);
sub close_block {
    complain("PROTOCOL.md:$start: a MUST without a tag")
        if $block =~ /\bMUST\b/ && $block !~ /\[[A-Z]{1,3}-\d+(?:, reserved)?\]/ && $block !~ /key words/i;
    $block = "";
}
for (split /\n/, slurp("PROTOCOL.md")) {
    $line++;
    $fenced = !$fenced if /^\s*```/;
    next if $fenced;
    close_block() if /^\s*$|^\s*(?:[-*|#]|\d+\.)\s?/;
    $start = $line if $block eq "";
    $block .= "$_\n";
    while (/\[(([A-Z]{1,3})-\d+)(, reserved)?\](?!\()/g) {
        complain("PROTOCOL.md:$line: $1 is defined at line $rule{$1} already") if $rule{$1};
        $rule{$1} //= $line;
        $reserved{$1} = 1 if $3;
        $section{$2} = 1;
    }
}
close_block();
complain("PROTOCOL.md defines no tags") unless %rule;

for my $file (@ARGV) {
    my $text = slurp($file);
    $file =~ s{^\./}{};
    my $tests = $file =~ m{/tests/|/tests\.rs$} ? 0 : $text =~ /^#\[cfg\((?:all\()?test/m ? $-[0] : length $text;
    while ($text =~ /(?<![\w-])(([A-Z]{1,3})-\d{1,2})(?![\w-])/g) {
        my ($tag, $at) = ($1, $-[0]);
        next unless $section{$2};    # such as P-256
        if (!$rule{$tag}) { complain("$file:" . (1 + (substr($text, 0, $at) =~ tr/\n//)) . ": PROTOCOL.md defines no $tag") }
        elsif ($at < $tests) { $code{$tag} = 1 }
        else { $test{$tag} = 1 }
    }
}
for my $tag (sort { $rule{$a} <=> $rule{$b} } keys %rule) {
    my @lacks = (("code") x !$code{$tag}, ("a test") x !$test{$tag});
    if ($reserved{$tag}) {
        complain("PROTOCOL.md:$rule{$tag}: $tag is reserved, and cited by code and a test: is it built?") unless @lacks;
        next;
    }
    complain("PROTOCOL.md:$rule{$tag}: $tag is not cited by " . join(" nor ", @lacks)) if @lacks;
}
my @built = grep { !$reserved{$_} } keys %rule;
printf "%d rules, %d cited by code, %d by a test\n", scalar @built, scalar(grep { $code{$_} } @built), scalar(grep { $test{$_} } @built);
printf "%d reserved, not built: %s\n", scalar keys %reserved, join ", ", sort { $rule{$a} <=> $rule{$b} } keys %reserved if %reserved;
exit $bad;
'
