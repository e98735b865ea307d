//! Every refusal has a code, a sentence and a cure, and the documentation has the same.

use std::collections::BTreeSet;
use std::path::Path;

use ringback_proto::refusal::Refusal;

#[test]
fn the_documentation_has_every_refusal_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|it| it.starts_with("| `RB-")).collect();
    let told: Vec<String> = Refusal::ALL
        .iter()
        .map(|it| format!("| `{}` | {} | {} |", it.code(), it.sentence(), it.cure()))
        .collect();
    assert_eq!(documented, told);
}

#[test]
fn no_two_refusals_share_a_code() {
    let codes: BTreeSet<&str> = Refusal::ALL.iter().map(|it| it.code()).collect();
    assert_eq!(codes.len(), Refusal::ALL.len());
    assert!(codes.iter().all(|it| it.starts_with("RB-")));
}
