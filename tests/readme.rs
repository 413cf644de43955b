//! The README and the crate's page show the same code.

/// The Rust snippets of a text, without the lines that only make them end as tests.
fn snippets(text: &str) -> Vec<String> {
    let mut snippets = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```" || line.starts_with("```rust") {
            let code = lines.by_ref().take_while(|line| *line != "```").filter(|line| !line.starts_with('#'));
            snippets.push(code.collect::<Vec<_>>().join("\n"));
        } else if line.starts_with("```") {
            lines.by_ref().find(|line| *line == "```");
        }
    }
    snippets
}

#[test]
fn the_readme_shows_the_code_of_the_crates_page() {
    let page: Vec<&str> = include_str!("../src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let readme = snippets(include_str!("../README.md"));
    let page = snippets(&page.join("\n"));
    assert_eq!(readme.len(), 3, "a server, a client and a test");
    assert_eq!(readme, page);
}
