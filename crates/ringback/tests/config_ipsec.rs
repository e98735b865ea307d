//! The example of IPsec is right in every part, and what is not is told.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tempfile::TempDir;

const FILES: [&str; 2] = ["public.toml", "private.toml"];

/// The example in a folder of its own, with the keys that its comments tell to make.
fn example() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ipsec");
    let mut made = 0;
    for name in FILES {
        let text = std::fs::read_to_string(examples.join(name))?;
        std::fs::write(folder.path().join(name), &text)?;
        for line in text.lines().filter_map(|it| it.strip_prefix("#   ringback ")) {
            let words: Vec<&str> =
                line.split('→').next().unwrap_or_default().split_whitespace().collect();
            let output = ringback(folder.path(), &words)?;
            ensure!(output.status.success(), "{words:?}: {}", said(&output));
            made += 1;
        }
    }
    ensure!(made == 3, "the comments tell of {made} commands that make keys");
    let password = folder.path().join("smpp.password");
    std::fs::write(&password, "secret\n")?;
    std::fs::set_permissions(password, std::fs::Permissions::from_mode(0o600))?;
    Ok(folder)
}

fn ringback(folder: &Path, words: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_ringback")).args(words).current_dir(folder).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_example_has_no_mistakes() -> Result<()> {
    let folder = example()?;
    for name in FILES {
        let checked = ringback(folder.path(), &["check", "--config", name])?;
        assert!(checked.status.success(), "{name}: {}", said(&checked));
    }
    Ok(())
}

#[test]
fn what_cannot_be_is_told() -> Result<()> {
    let folder = example()?;
    for name in FILES {
        let text = std::fs::read_to_string(folder.path().join(name))?;
        for (from, to, told) in [
            ("[ipsec]", "", "give an [ipsec] table"),
            ("tunnel = \"ipsec\"", "tunnel = \"ipsek\"", "must be \"tls\", \"ipsec\", "),
            ("[ipsec]", "[ipsec]\nesp = \"none\"", "must be \"user\" or \"kernel\""),
            ("[ipsec]", "[ipsec]\nvici = \"a\"\ncharon = \"b\"", "runs already"),
            ("[ipsec]", "[ipsec]\ninner = \"10.0.0.0/8\"", "inner"),
        ] {
            std::fs::write(folder.path().join("it.toml"), text.replacen(from, to, 1))?;
            let checked = ringback(folder.path(), &["check", "--config", "it.toml"])?;
            let said = said(&checked);
            assert_eq!(checked.status.code(), Some(64), "{name}, {to}");
            assert!(said.contains(told), "{name}, {to}: {said}");
        }
    }
    Ok(())
}
