//! Every test that looks at callout from the outside, in one program.

mod every_path;
mod layering;
mod limits_of_an_alert;
mod machine;
mod planted_bugs;
mod scenarios;
