//! Good inputs, from the written examples of both wires.

use std::fs;
use std::path::Path;

use protocol::identity::SigningKey;
use protocol::trust::{Invite, InviteTerms, Role};

/// The examples whose names begin so.
fn golden(sides: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/golden");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the examples are there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sides.iter().any(|side| name.starts_with(side))
        })
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a readable file")).collect()
}

pub(crate) fn wire() -> Vec<Vec<u8>> {
    golden(&["client.", "server."])
}

pub(crate) fn link() -> Vec<Vec<u8>> {
    let message = |header: Vec<u8>| [&(header.len() as u32).to_be_bytes()[..], &header, b"{\"a\":1}"].concat();
    golden(&["link."]).into_iter().map(message).collect()
}

pub(crate) fn invite() -> Vec<Vec<u8>> {
    let (owner, key) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let terms = |role| InviteTerms {
        mesh_id: "mesh1",
        mesh_slug: "demo",
        broker_url: "ws://localhost:7900/ws",
        expires_at: 1_893_456_000,
        role,
    };
    let mut links = Vec::new();
    for role in [Role::Member, Role::Admin] {
        let invite = Invite::sign(&terms(role), key.public(), &owner).expect("no bars in it");
        let token = invite.token();
        links.extend([
            serde_json::to_string(&invite).expect("JSON"),
            invite.link(),
            token.clone(),
            format!("https://mesh.example/join/{token}"),
            invite.link_with(&[2; 32]).expose().to_owned(),
        ]);
    }
    links.into_iter().map(String::into_bytes).collect()
}

pub(crate) fn guard() -> Vec<Vec<u8>> {
    let frame = |first: u8, length: u16| {
        let mut bytes = vec![first, 0x80 | 126];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(vec![b'x'; length.into()]);
        bytes
    };
    let rows: [&[(u8, u16)]; 5] = [
        &[(0x81, 5), (0x89, 3), (0x81, 100)],
        &[(0x81, 101), (0x81, 1)],
        &[(0x01, 60), (0x00, 30), (0x80, 10)],
        &[(0x01, 60), (0x8a, 0), (0x00, 60), (0x00, 60), (0x80, 1), (0x82, 9)],
        &[(0x88, 2), (0x89, 200), (0x00, 50), (0x80, 60)],
    ];
    let row =
        |frames: &[(u8, u16)]| frames.iter().flat_map(|(first, length)| frame(*first, *length)).collect::<Vec<_>>();
    rows.into_iter().map(|frames| [vec![1, 7, 30, 3], row(frames)].concat()).collect()
}
