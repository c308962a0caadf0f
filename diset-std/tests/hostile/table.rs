//! The table of bad input in the documentation names tests that run, counters and codes that
//! exist.

use std::collections::BTreeSet;
use std::path::Path;

use diset_std::Code;

use crate::common::{TestResult, World, answering};

/// The cells of each row that names something, without the borders.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// That this is the name of a test which is not left out.
fn assert_runs(root: &Path, test: &str) -> TestResult {
    let (file, name) = test.split_once("::").ok_or_else(|| format!("no file::test: {test}"))?;
    let file = match file {
        "drain" | "endings" => format!("diset-proto/tests/scenarios/{file}.rs"),
        "admission" | "flow" | "generic" | "log" | "recheck" | "refusal" | "reload" | "rights" | "shutdown"
        | "small_records" => {
            format!("diset-std/tests/{file}.rs")
        }
        "addresses" | "strangers" => format!("diset-std/tests/dialling/{file}.rs"),
        "chains" | "errors" | "hints" | "names" => format!("diset-std/tests/certificates/{file}.rs"),
        "resumption" | "small" => format!("diset-std/src/channel/tls/tests/{file}.rs"),
        "driver" => String::from("diset-std/src/driver/tests.rs"),
        hostile => format!("diset-std/tests/hostile/{hostile}.rs"),
    };
    let source = std::fs::read_to_string(root.join(&file)).map_err(|why| format!("{file}: {why}"))?;
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let wanted = format!("fn {name}(");
    let at = lines
        .iter()
        .position(|line| line.trim_start_matches("async ").starts_with(&wanted))
        .ok_or_else(|| format!("{file} has no {name}"))?;
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    let above: Vec<_> = above.collect();
    let is_test = above
        .iter()
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    let is_left_out = above.iter().any(|line| line.contains("ignore"));
    assert!(is_test && !is_left_out, "{file}: {name} is not a test that runs");
    Ok(())
}

/// The capitals and digits of a text decide what it names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', ';', ':']).filter(|word| !word.is_empty())
}

fn is_name(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
}

#[tokio::test]
async fn what_the_table_names_exists() -> TestResult {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("docs/BAD-INPUT.md"))?;
    let running = World::new()?.serve(answering()).await?;
    let counters = running.handle.counters();
    let known: BTreeSet<_> = counters.iter().map(|(name, label, _)| (name, label)).collect();
    let (mut tests, mut codes, mut counted) = (0, 0, 0);
    for row in rows(&table) {
        let [.., sees, counts, shown] = &row[..] else {
            return Err(format!("too few columns: {row:?}").into());
        };
        assert!(shown.contains('`'), "no test: {row:?}");
        for test in shown.split('`').skip(1).step_by(2) {
            assert_runs(&root, test)?;
            tests += 1;
        }
        // A number and the name of its code.
        let told: Vec<_> = words(sees).collect();
        for pair in told.windows(2).filter(|pair| is_name(pair[1])) {
            if let Ok(number) = pair[0].parse() {
                assert_eq!(Code::from_number(number).name(), pair[1], "{sees}");
                codes += 1;
            }
        }
        // The name of a counter, then its labels.
        for part in counts.split('`').skip(1).collect::<Vec<_>>().chunks(2) {
            let name = part[0];
            assert!(known.iter().any(|(known, _)| *known == name), "no counter: {name}");
            for label in part
                .get(1)
                .into_iter()
                .flat_map(|labels| words(labels))
                .filter(|word| is_name(word))
            {
                assert!(known.contains(&(name, label)), "no counter: {name} {label}");
                counted += 1;
            }
        }
    }
    assert!(
        tests > 50 && codes > 20 && counted > 30,
        "the table was read: {tests}, {codes}, {counted}"
    );
    running.stop().await;
    Ok(())
}
