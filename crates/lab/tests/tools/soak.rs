use super::{run, tool};

#[test]
fn a_short_soak_over_the_worst_link_is_well() {
    let soak = run(tool!("soak"), &["--seconds", "6", "--clients", "60", "--link", "bad_hotel"]);
    assert!(soak.status.success(), "{soak:?}");
    assert_eq!(soak.said.last().map(String::as_str), Some("All is well."));
}
