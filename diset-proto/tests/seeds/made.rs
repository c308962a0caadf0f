//! Seeds that are made by a rule: target, name, bytes in hex. What they show is in the name.

/// Bytes that stand in many of them, by a name.
pub(crate) const PIECES: &[(&str, &str)] = &[
    // Fields of a proposal to the service of the targets.
    ("SERVICE", "81 09 54 65 73 74 2f 46 75 7a 7a"),
    ("IDENTITY", "82 10 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f"),
    ("DIGEST", "83 10 16 a9 eb f9 30 b3 79 74 cf 35 c6 5a 44 1e 7b fc"),
    ("LIMITS", "84 08 80 04 80 08 10 e0 d4 03"),
    ("PROPOSAL", "SERVICE IDENTITY DIGEST LIMITS"),
    // Transport id and limits.
    ("ACCEPTED", "81 01 01 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03"),
    // Name and key of its messages.
    (
        "COUNT",
        "05 43 6f 75 6e 74 2d 4b b0 87 1d a3 43 37 30 c9 2b 56 e9 21 f3 14",
    ),
    (
        "WORDS",
        "05 57 6f 72 64 73 b4 cf 4f 43 70 71 08 a3 d3 f4 0b 2d a5 b9 df 1b",
    ),
];

pub(crate) const SEEDS: &[(&str, &str, &str)] = &[
    ("typed", "bool-of-two", "00 02"),
    ("typed", "u16-over-long", "03 81 80 00"),
    ("typed", "u32-largest", "05 ff ff ff ff 0f"),
    ("typed", "u32-above", "05 ff ff ff ff 1f"),
    (
        "typed",
        "u128-above",
        "09 ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff 04",
    ),
    (
        "typed",
        "i128-least",
        "0a ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff 03",
    ),
    ("typed", "f32-signalling-nan", "0b 01 00 a0 7f"),
    ("typed", "f64-nan-with-payload", "0c 01 02 03 04 05 06 f4 ff"),
    ("typed", "char-of-four-bytes", "0d 04 f0 9f 98 80"),
    ("typed", "char-of-two-characters", "0d 02 61 62"),
    ("typed", "char-over-long-utf8", "0d 02 c1 81"),
    ("typed", "char-surrogate", "0d 03 ed a0 80"),
    ("typed", "char-over-long-length", "0d 81 00 61"),
    ("typed", "text-not-utf8", "0e 02 c3 28"),
    ("typed", "text-over-long-length", "0f 82 00 68 69"),
    ("typed", "bytes-for-serde", "12 03 00 ff 61 80 01"),
    ("typed", "option-of-two", "13 01 02"),
    ("typed", "a-byte-left-over", "1c 05 00"),
    ("typed", "options-all-there", "13 01 01 01 05"),
    ("typed", "lists-in-lists", "16 02 01 02 01 02 02 00 00"),
    ("typed", "variant-over-long", "1e 80 00"),
    ("typed", "variant-unknown", "1e 06"),
    (
        "typed",
        "variants-of-each-kind",
        "1f 07 00 01 00 01 01 09 01 02 05 01 61 01 03 07 02 01 02 01 04 01 01 02 03 04 01 05",
    ),
    (
        "typed",
        "nested-structures",
        "21 01 01 61 01 02 00 ff 04 01 01 02 03 04 01 00 00 00 07",
    ),
    ("typed", "as-deep-as-allowed", "22 07"),
    (
        "typed",
        "lists-as-deep-as-allowed",
        "23 01 01 01 01 01 01 01 01 01 01 01 01 01 02 01 61 01 62",
    ),
    (
        "typed",
        "many-attributes",
        "24 01 ff 80 ff ff 03 01 01 02 05 06 01 03 00 00 80 3f 00 00 00 00 00 00 f0 3f 01 7a 02 68 69 01 ff 01 07 \
         02 01 80 01 01 02 03 05 01 03 09 01 05 2a 01 71",
    ),
    ("typed", "text-above-capacity", "28 09 61 61 61 61 61 61 61 61 61"),
    ("typed", "list-above-capacity", "29 04 01 02 03 04"),
    ("typed", "value-refused-by-its-type", "2b 02 64 65"),
    ("typed", "map-out-of-order", "2c 02 05 02 04 02"),
    ("typed", "map-with-a-key-twice", "2c 02 05 02 05 04"),
    ("typed", "set-out-of-order", "2e 02 09 03"),
    ("typed", "duration-that-carries", "30 00 80 de a0 cb 05"),
    (
        "typed",
        "duration-that-carries-into-an-over-long-number",
        "30 ff 00 80 de a0 cb 05",
    ),
    ("proposal", "known-digest", "PROPOSAL"),
    (
        "proposal",
        "unknown-digest",
        "SERVICE IDENTITY 83 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 LIMITS 05 04 80 80 80 08",
    ),
    (
        "proposal",
        "adopt-with-arguments",
        "SERVICE IDENTITY LIMITS 07 32 04 66 6c 61 67 00 01 01 6e 01 f4 ff ff ff ff ff ff ff 03 6e 61 6e 02 01 00 \
         00 00 00 00 f4 7f 04 73 69 74 65 03 04 43 45 52 4e 03 72 61 77 04 02 00 ff 88 00",
    ),
    ("proposal", "digest-and-adopt", "PROPOSAL 88 00"),
    (
        "proposal",
        "another-service",
        "81 12 46 72 61 6d 65 77 6f 72 6b 2f 50 69 6e 67 50 6f 6e 67 IDENTITY 83 10 00 00 00 00 00 00 00 00 00 00 \
         00 00 00 00 00 00 LIMITS",
    ),
    (
        "proposal",
        "unknown-field-skipped",
        "PROPOSAL 09 01 01 0a 06 72 65 73 75 6d 65",
    ),
    ("proposal", "unknown-critical-field", "PROPOSAL 89 01 01"),
    (
        "proposal",
        "critical-bits-the-other-way",
        "01 09 54 65 73 74 2f 46 75 7a 7a 02 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03 10 16 a9 eb f9 \
         30 b3 79 74 cf 35 c6 5a 44 1e 7b fc 04 10 80 08 80 80 80 80 04 80 80 80 80 04 80 b8 99 29 87 00",
    ),
    ("proposal", "field-twice", "SERVICE IDENTITY IDENTITY DIGEST LIMITS"),
    ("proposal", "argument-twice", "PROPOSAL 07 08 01 61 00 00 01 61 00 00"),
    (
        "proposal",
        "over-long-limit",
        "SERVICE IDENTITY DIGEST 84 09 80 88 00 80 08 10 e0 d4 03",
    ),
    (
        "proposal",
        "no-room-for-a-frame",
        "SERVICE IDENTITY DIGEST 84 08 80 10 ff 0f 10 e0 d4 03",
    ),
    ("acceptance", "plain", "00 ACCEPTED"),
    (
        "acceptance",
        "verdicts",
        "00 81 0a ff ff ff ff ff ff ff ff ff 01 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 83 04 00 01 01 09",
    ),
    (
        "acceptance",
        "all-forbidden",
        "00 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 83 04 00 03 01 03",
    ),
    ("acceptance", "verdict-same", "00 ACCEPTED 83 02 00 00"),
    ("acceptance", "verdicts-out-of-order", "00 ACCEPTED 83 04 01 02 00 02"),
    ("acceptance", "verdict-on-no-message", "00 ACCEPTED 83 02 02 01"),
    (
        "acceptance",
        "adopted",
        "01 ACCEPTED 87 10 16 a9 eb f9 30 b3 79 74 cf 35 c6 5a 44 1e 7b fc",
    ),
    (
        "acceptance",
        "adopted-another-digest",
        "01 ACCEPTED 87 10 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ),
    (
        "acceptance",
        "digest-not-asked-for",
        "00 ACCEPTED 87 10 16 a9 eb f9 30 b3 79 74 cf 35 c6 5a 44 1e 7b fc",
    ),
    ("acceptance", "later-fields", "00 ACCEPTED 06 01 01 08 02 68 69"),
    ("definitions", "all-in-one", "00 00 30 00 02 01 COUNT 03 WORDS"),
    (
        "definitions",
        "in-parts",
        "00 00 19 00 03 03 WORDS 00 2f 01 03 02 04 47 6f 6e 65 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 \
         COUNT",
    ),
    ("definitions", "none", "00 00 02 00 00"),
    ("definitions", "forbidden", "03 00 47 00 03 03 WORDS 03 COUNT 01 COUNT"),
    ("definitions", "a-gap", "00 00 19 00 03 03 WORDS 00 19 02 03 01 COUNT"),
    ("definitions", "too-many", "00 00 30 00 01 03 WORDS 01 COUNT"),
    (
        "definitions",
        "another-total",
        "00 00 19 00 03 03 WORDS 00 19 01 02 01 COUNT",
    ),
    (
        "definitions",
        "a-part-without-entries",
        "00 00 19 00 03 03 WORDS 00 02 01 03",
    ),
    (
        "definitions",
        "without-a-name",
        "00 00 14 00 01 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ),
    (
        "notice",
        "refusal",
        "00 81 01 34 02 09 74 72 79 20 6c 61 74 65 72 03 04 e8 07 f4 03",
    ),
    (
        "notice",
        "error-about-a-message",
        "01 81 01 21 02 11 31 20 62 79 74 65 73 20 6c 65 66 74 20 6f 76 65 72 04 01 00",
    ),
    (
        "notice",
        "refusal-for-good",
        "00 81 01 33 02 07 72 65 74 69 72 65 64 06 00",
    ),
    ("notice", "error-that-says-it-is-for-good", "01 81 01 33 06 00"),
    ("notice", "permanent-is-empty", "00 81 01 33 06 01 01"),
    ("notice", "go-away", "02 81 01 48 03 03 64 90 03 05 02 88 27"),
    (
        "notice",
        "go-away-at-once-for-ever",
        "02 81 03 ff ff 03 03 0a ff ff ff ff 0f ff ff ff ff 0f 05 01 00",
    ),
    ("notice", "credit", "03 06 02"),
    ("notice", "credit-for-what-was-not-sent", "03 06 04"),
    ("notice", "credit-over-long", "03 81 00 01"),
    (
        "notice",
        "text-of-64-bytes",
        "01 81 01 46 02 40 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 \
         a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4 c3 a4",
    ),
    (
        "notice",
        "text-too-long",
        "01 81 01 46 02 41 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 \
         78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 78 \
         78",
    ),
    ("notice", "code-too-large", "01 81 03 80 80 04"),
    ("notice", "without-a-code", "00 02 01 78"),
    ("notice", "error-that-the-peer-speaks-something-else", "01 81 01 01"),
    ("notice", "steering-text", "00 81 01 33 02 05 1b 5b 32 4a 0a"),
    ("serial", "both-ways", "00 04 09 00 32 82 c8 02 84 00 ff 09"),
    ("serial", "request-lost", "00 09 04 00 00 07 00 00 ff 05 09 00 05 02"),
    ("serial", "bit-flipped", "00 04 09 00 32 07 02 07 03 02 09"),
    ("serial", "packet-lost", "00 04 09 82 05 89 00 00 ff 82 05 84 09"),
    ("serial", "packets-repeated", "00 04 09 00 05 07 01 00 ff 02 82 03 09"),
    ("serial", "closed-in-order", "00 04 09 00 05 06 00 00 02 09"),
    ("serial", "end-lost", "00 04 09 82 09 88 82 00 89 00 0a ff 84 09"),
    (
        "serial",
        "opened-anew-with-data-on-the-way",
        "00 04 09 00 40 82 40 04 09 00 40 03 07 09",
    ),
    ("serial", "little-room", "00 04 09 01 09 83 00 09"),
    (
        "serial",
        "requests-repeated",
        "00 04 00 00 07 01 00 ff 02 82 08 84 02 09",
    ),
    (
        "serial",
        "anything",
        "01 08 04 00 01 02 03 8a 09 05 00 ff ff 00 07 02 68 69 04 09 08 03 00 00 01 00 09 09",
    ),
    (
        "serial",
        "many-openings",
        "00 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 \
         04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 \
         04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 \
         04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 04 09 00 12 09",
    ),
    (
        "serial",
        "forged-end",
        "01 04 09 8a 10 00 06 83 01 02 03 04 01 01 01 05 fd ed f0 91 00 09",
    ),
    ("sessions", "both-ways", "00 13 03 83 13 14 1e 13"),
    ("sessions", "cut-at-a-byte", "00 13 07 10 14 12 09 17 13"),
    (
        "sessions",
        "takeover-while-a-handler-runs",
        "00 13 95 01 02 13 17 13 96 00 13",
    ),
    ("sessions", "handler-fails", "00 13 95 02 03 13 17 13"),
    (
        "sessions",
        "handler-fails-after-a-takeover",
        "00 13 95 01 02 13 17 13 96 01 13",
    ),
    ("sessions", "service-forgets", "00 13 0b 11 99 13 1c"),
    ("sessions", "client-forgets", "00 13 8b 91 19 13 9c"),
    ("sessions", "little-room-and-skips", "09 07 07 07 1a 13 1a"),
    ("sessions", "stores-that-lag", "36 13 03 83 13 1d 13 9d 13 17 13"),
    (
        "sessions",
        "go-away-with-messages-under-way",
        "00 13 03 83 9f 13 14 c8 17 13",
    ),
    ("sessions", "kept-after-the-claim", "64 93 83 13"),
    ("sessions", "forgotten-and-the-acceptance-lost", "31 13 99 20 93"),
    ("sessions", "forgotten-twice", "fd 1b 0b 00 13 99 13 99 13"),
    (
        "sessions",
        "outcomes-that-are-not-kept",
        "ac 13 8e 15 8e 13 17 13 17 13 17 13 17 13",
    ),
    ("sessions", "next-key-behind-a-go-away", "00 13 1f 11 22 13"),
    (
        "store",
        "in-a-buffer",
        "00 01 0a 09 14 11 05 06 00 03 01 04 00 01 4f 01 4f 05 00 01 28",
    ),
    (
        "store",
        "in-a-buffer-that-grows",
        "01 01 32 01 32 01 28 03 01 01 28 04 01 01 3c",
    ),
    (
        "store",
        "on-the-heap",
        "02 01 0a 09 14 01 1e 01 01 03 01 01 09 05 00 04 09",
    ),
    ("store", "reserved-and-not-written", "00 00 1e 01 1e 00 0a 06 00 01 09"),
    ("store", "full", "00 01 46 01 46 01 01 01 00 04 00 01 46"),
    (
        "client_ops",
        "a-session",
        "03 03 02 10 0f f0 00 00 09 09 0f f0 00 00 09 09 03 02 16 0f f1 02 13 03",
    ),
    (
        "client_ops",
        "a-session-that-goes-on",
        "03 03 02 10 0f f0 00 00 09 09 03 0f f3 03 02 11 03 02 14 0f f3 03 02 10 03",
    ),
    (
        "client_ops",
        "restarted-with-its-session",
        "03 03 02 10 0f f0 01 00 09 09 03 0f f6 03 02 10 0f f1 03",
    ),
    (
        "client_ops",
        "a-key-for-later",
        "03 03 02 10 0f f5 00 3c 03 02 1a 0f ff",
    ),
    (
        "service_ops",
        "a-session",
        "0f f7 02 0d 03 0f f0 00 01 09 09 03 02 11 02 13 03 0e 03 02 10 03 0f f3 02 0d 0f f1",
    ),
    (
        "service_ops",
        "a-client-that-comes-back",
        "0f f7 02 0d 03 02 18 0f f3 02 0e 03 02 0f 03",
    ),
    (
        "service_ops",
        "numbers-that-never-come",
        "0f f7 02 0d 03 02 15 0e 01 02 0f 02 16 02 0f 0d 05 00 1e 03",
    ),
    ("packets", "ack-of-what-was-sent", "0f 8a 02 01 01"),
    ("packets", "ack-with-an-outcome", "0a 8a 00 02 02 01 21"),
    ("packets", "next-to-the-end", "0f 8c 01 ff ff ff ff ff ff ff ff 7f 00"),
    ("proposal", "a-first-session", "PROPOSAL 06 01 0c"),
    (
        "proposal",
        "a-session-that-goes-on",
        "PROPOSAL 06 17 0f 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 02 03 05 05 02 23",
    ),
    (
        "proposal",
        "a-claim-that-cannot-be",
        "PROPOSAL 06 15 0d 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 02 05 05",
    ),
    (
        "acceptance",
        "a-first-session",
        "02 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 04 02 01 0c 05 10 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03",
    ),
    (
        "acceptance",
        "a-session-that-goes-on",
        "04 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 04 08 00 0c 02 02 03 02 02 23 05 10 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03",
    ),
    (
        "acceptance",
        "a-claim-that-does-not-fit",
        "04 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 04 06 00 0c 02 02 04 02 05 10 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03",
    ),
    (
        "acceptance",
        "goes-on-without-having-been-asked",
        "02 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 04 06 00 0c 00 00 00 00 05 10 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03",
    ),
    (
        "proposal",
        "a-session-of-one-that-only-sends",
        "PROPOSAL 06 13 05 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 02 03",
    ),
    ("proposal", "durable-and-takes-none", "PROPOSAL 06 01 06"),
    ("proposal", "first-credit", "PROPOSAL 8a 02 00 00"),
    (
        "acceptance",
        "a-session-of-one-that-only-takes",
        "04 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 04 06 00 08 03 02 02 23 05 10 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03 03",
    ),
    ("acceptance", "first-credit", "00 ACCEPTED 8a 04 80 80 20 05"),
    (
        "acceptance",
        "first-credit-above-the-window",
        "00 ACCEPTED 8a 04 81 80 20 05",
    ),
    ("notice", "credit-of-nothing", "03 00 00"),
    ("packets", "outcomes-read-of-nothing", "0f 8f 01 00"),
    (
        "sessions",
        "handlers-that-fail-on-later-connections",
        "fd 8d 01 00 1b 95 01 02 13 17 96 13 3a 13 17 13 96 53 17 00 96 13 3a 13 17 13 96 53 17 00 00 02 13 17 96 13 \
         13 13",
    ),
    ("sessions", "read-and-not-confirmed", "ac 13 8e 15 8e 13 17 20 13"),
    ("proposal", "calls", "PROPOSAL 0b 04 04 80 04 02"),
    (
        "proposal",
        "calls-must-be-understood",
        "PROPOSAL 8b 09 80 20 80 80 80 80 04 80 20",
    ),
    (
        "proposal",
        "calls-with-a-window-below-a-frame",
        "PROPOSAL 0b 04 01 ff 03 00",
    ),
    (
        "proposal",
        "calls-keep-more-than-there-are",
        "PROPOSAL 0b 04 01 80 04 02",
    ),
    ("acceptance", "calls", "00 ACCEPTED 0b 06 80 20 80 80 04 00"),
    ("acceptance", "calls-without-slots", "00 ACCEPTED 0b 05 00 80 80 04 00"),
    ("acceptance", "calls-cut", "00 ACCEPTED 0b 04 04 80 80 04"),
    (
        "definitions",
        "all-kinds",
        "00 00 56 00 04 05 COUNT 0b WORDS 0d 01 41 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 13 01 42 00 00 \
         00 00 00 00 00 00 00 00 00 00 00 00 00 00",
    ),
    ("definitions", "a-kind-that-is-not-known", "00 00 19 00 01 15 COUNT"),
    ("packets", "request-to-a-service", "07 01 00 00 03 d0 0f 80 02 0e"),
    ("packets", "reply-to-a-client", "03 02 00 00 00 0e"),
    (
        "packets",
        "acked-request-in-a-session",
        "0f 41 00 00 0e 03 d0 0f 80 02 0e",
    ),
    (
        "service_ops",
        "a-handler-that-asks-for-its-message-again",
        "0f f7 02 0d 03 0e 01 02 0f 0f f9 00 32 03 05 00 32 0d 03",
    ),
    (
        "client_ops",
        "a-handler-whose-time-is-over",
        "03 03 02 10 0e 01 02 12 0f f8 0f fb 03",
    ),
    (
        "halves",
        "a-client-that-takes-the-catalog",
        "01 02 0e 05 02 0e 03 02 06 0d 0f fe 00 01 07 03 0e 00 02 07 03",
    ),
    (
        "sessions",
        "handler-asks-again",
        "00 13 95 01 03 13 a4 1e 14 28 13 96 00 13",
    ),
    (
        "sessions",
        "handler-asks-again-and-the-end",
        "00 13 95 01 03 13 a4 1e 17 13",
    ),
    (
        "sessions",
        "handler-is-given-up-behind-the-end",
        "00 13 95 01 02 13 17 02 a3 13",
    ),
    (
        "service_ops",
        "an-outcome-before-its-turn",
        "0f f7 02 0d 03 0e 01 02 0f 02 10 0f f4 02 00 0d 03",
    ),
    (
        "acceptance",
        "unknown-critical-field",
        "00 81 01 07 82 0c 80 80 04 80 80 20 80 80 01 e0 d4 03 8c 01 00",
    ),
    (
        "definitions",
        "a-length-over-long",
        "00 00 1a 00 01 01 85 00 43 6f 75 6e 74 2d 4b b0 87 1d a3 43 37 30 c9 2b 56 e9 21 f3 14",
    ),
    (
        "sessions",
        "handler-asks-again-before-a-plain-message",
        "00 13 95 01 03 1e 13 a4 ff 17 13",
    ),
    (
        "service_ops",
        "asked-for-again-before-a-plain-message-and-the-end",
        "0f f7 02 0d 03 0e 01 02 0f 02 03 0f f9 10 00 0f f3 02 0d 03",
    ),
];
