//! What a build leaves where the runner itself works after it: links that lead to files of somebody else's.

use std::fs;
use std::path::{Path, PathBuf};

use runner::prepare::PrepareError;

use super::repository::{Repository, built, preparer};
use super::{LIMIT, prepare};

const PACKAGE: &str = r#"{"name": "srv", "version": "0.0.1", "bin": "srv.js"}"#;

/// Somebody else's project, which no build can see.
struct Victim(tempfile::TempDir);

impl Victim {
    fn new() -> Self {
        let victim = Self(tempfile::tempdir().unwrap());
        for file in ["package.json", ".git/HEAD", "tree/package.json"] {
            let file = victim.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, PACKAGE).unwrap();
        }
        fs::write(victim.path().join("srv.js"), "").unwrap();
        fs::write(victim.path().join("tree/srv.js"), "").unwrap();
        victim
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn files(&self) -> Vec<(PathBuf, String)> {
        let mut files: Vec<PathBuf> = super::files_under(self.path());
        files.sort();
        files.into_iter().map(|file| (file.clone(), fs::read_to_string(&file).unwrap())).collect()
    }
}

/// A project whose build command runs this; `VICTIM` in it is the victim's folder.
fn building(script: &str, victim: &Victim) -> Repository {
    let script = format!("const fs = require('fs');\n{}", script.replace("VICTIM", victim.path().to_str().unwrap()));
    Repository::with(&[("package.json", PACKAGE), ("srv.js", "console.log('one')"), ("build.js", &script)])
}

#[tokio::test]
async fn h13_a_build_that_puts_a_link_for_a_folder_of_its_own_is_refused() {
    for (script, what) in [
        ("fs.renameSync('../tree', '../away'); fs.symlinkSync('VICTIM', '../tree');", "tree"),
        ("fs.renameSync('../../pkg', '../../away'); fs.symlinkSync('VICTIM', '../../pkg');", "pkg"),
    ] {
        let (victim, data) = (Victim::new(), tempfile::tempdir().unwrap());
        let before = victim.files();
        let repository = building(script, &victim);
        let wanted = built(repository.source(), &["node", "build.js"]);
        let ended = prepare(&preparer(data.path()).await, &wanted, None).await.0;
        assert_eq!(victim.files(), before, "{what}: {ended:?}");
        let error = ended.unwrap_err();
        assert!(matches!(&error, PrepareError::Project { what: named, .. } if named == what), "{error:?}");
    }
}

#[tokio::test]
async fn h13_a_receipt_is_not_written_through_a_link_of_the_builds() {
    let script = "fs.symlinkSync('VICTIM/package.json', '../receipt.json.new');\
        fs.symlinkSync('VICTIM/package.json', '../receipt.json');";
    let (victim, data) = (Victim::new(), tempfile::tempdir().unwrap());
    let before = victim.files();
    let repository = building(script, &victim);
    let wanted = built(repository.source(), &["node", "build.js"]);
    let ready = prepare(&preparer(data.path()).await, &wanted, None).await.0.unwrap();
    assert_eq!(victim.files(), before);
    let receipt = ready.visible[0].join("receipt.json");
    assert!(fs::symlink_metadata(&receipt).unwrap().is_file());
}

/// A requirement that needs no download: it builds itself, and plants links while it does.
const BACKEND: &str = r#"
import os, pathlib, zipfile
def build_wheel(directory, settings=None, metadata=None):
    package = pathlib.Path(__file__).resolve().parents[2]
    PLANT
    name, info = 'dep-1.0-py3-none-any.whl', 'dep-1.0.dist-info/'
    with zipfile.ZipFile(os.path.join(directory, name), 'w') as wheel:
        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: dep\nVersion: 1.0\n')
        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(info + 'RECORD', '')
    return name
"#;

#[tokio::test]
async fn h13_the_path_of_an_environment_is_not_written_through_a_link_of_a_requirements() {
    let file = "next(package.glob('lib/python*/site-packages')).joinpath('tree.pth').symlink_to('VICTIM/package.json')";
    let folder = "(package / 'lib/other').mkdir(); (package / 'lib/other/site-packages').symlink_to('VICTIM')";
    let project = "[project]\nname = \"dep\"\nversion = \"1.0\"\n\
        [build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    for (plant, is_refused) in [(file, false), (folder, true)] {
        let (victim, data) = (Victim::new(), tempfile::tempdir().unwrap());
        let before = victim.files();
        let plant = plant.replace("VICTIM", victim.path().to_str().unwrap());
        let repository = Repository::with(&[
            ("requirements.txt", "./dep\n"),
            ("server.py", ""),
            ("dep/pyproject.toml", project),
            ("dep/backend.py", &BACKEND.replace("PLANT", &plant)),
        ]);
        let (preparer, args) = (preparer(data.path()).await, ["server.py".to_owned()]);
        let ended = preparer.prepare(&repository.source(), None, &args, LIMIT, &mut |_| {}).await;
        assert_eq!(victim.files(), before, "{plant}: {ended:?}");
        match ended {
            Ok(ready) if !is_refused => {
                let lib = super::files_under(&ready.visible[0].join("lib"));
                let written: Vec<_> = lib.iter().filter(|file| file.ends_with("tree.pth")).collect();
                assert_eq!(written.len(), 1, "{lib:?}");
                assert!(fs::symlink_metadata(written[0]).unwrap().is_file());
            }
            Err(PrepareError::Project { .. }) if is_refused => {}
            ended => panic!("{plant}: {ended:?}"),
        }
    }
}
