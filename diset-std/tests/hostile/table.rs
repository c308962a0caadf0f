//! The table of bad input in the documentation names tests that exist.

use crate::common::TestResult;

#[test]
fn the_tests_that_the_table_names_exist() -> TestResult {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("docs/BAD-INPUT.md"))?;
    let mut named = 0;
    for row in table
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
    {
        let last = row.trim_end_matches(" |").rsplit("| ").next().ok_or("a column")?;
        for test in last.split('`').skip(1).step_by(2) {
            let (file, name) = test.split_once("::").ok_or_else(|| format!("no file::test: {row}"))?;
            let file = match file {
                "endings" | "chunks" => format!("diset-proto/tests/scenarios/{file}.rs"),
                "flow" | "reload" | "rights" | "shutdown" => format!("diset-std/tests/{file}.rs"),
                "resumption" => format!("diset-std/src/channel/tls/tests/{file}.rs"),
                hostile => format!("diset-std/tests/hostile/{hostile}.rs"),
            };
            let source = std::fs::read_to_string(root.join(&file)).map_err(|why| format!("{file}: {why}"))?;
            assert!(source.contains(&format!("fn {name}(")), "{file} has no test {name}");
            named += 1;
        }
        assert!(last.contains('`'), "no test: {row}");
    }
    assert!(named > 20, "the table was read: {named}");
    Ok(())
}
