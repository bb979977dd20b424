//! A data folder's identity: whose it is, and that nobody else uses it.

use super::disk::{Disk, Lane, Open, Then};
use super::error::StoreError;
use super::journal::parse_journal_name;
use super::options::{Identity, StoreOptions};
use super::segment::parse_partition_dir;
use bytes::Bytes;
use seedlog_core::ids::{NodeId, Uuid};
use std::io::ErrorKind;
use std::path::Path;

/// Version of `meta.properties`. The first one named the cluster as well.
const META_VERSION: u32 = 2;
pub(super) const META: &str = "meta.properties";
pub(super) const LOCK: &str = ".lock";
/// The file of the snapshot.
pub(super) const SNAPSHOT: &str = "snapshot";

/// A folder that is ours.
#[derive(Debug)]
pub(super) struct Folder<L> {
    pub(super) lock: L,
    pub(super) identity: Identity,
    /// It was empty before.
    pub(super) first_use: bool,
}

/// Locks the folder, creating it if it is not there, and reads whose it is; a new one becomes ours.
pub(super) async fn enter<D: Disk>(disk: &D, options: &StoreOptions) -> Result<Folder<D::Lock>, StoreError> {
    let dir = &options.log_dir;
    let create = disk.create_dir(Lane::Background, dir);
    create.await.map_err(StoreError::disk("cannot create the folder", dir))?;
    let lock_path = dir.join(LOCK);
    let lock = disk.lock_now(&lock_path).map_err(StoreError::disk("cannot lock", &lock_path))?;
    let lock = lock.ok_or_else(|| StoreError::InUse(dir.clone()))?;
    let path = dir.join(META);
    let mut text = Vec::new();
    match disk.read_now(&path, &mut text) {
        Ok(()) => {
            let identity = parse_meta(&path, &text)?;
            check(options, identity)?;
            // A process that died before it synced the folder may have left this name in the page cache alone (SAFETY J2):
            // then a power cut could keep what is created from here on, and not the name.
            let sync = disk.sync_dir(Lane::Background, dir).await;
            sync.map_err(StoreError::disk("cannot sync the folder", dir))?;
            Ok(Folder { lock, identity, first_use: false })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let entries = disk.list(Lane::Background, dir).await;
            let entries = entries.map_err(StoreError::disk("cannot list", dir))?;
            let has_data = entries.iter().any(|entry| {
                parse_journal_name(&entry.name).is_some()
                    || parse_partition_dir(&entry.name).is_some()
                    || entry.name == SNAPSHOT
            });
            if has_data {
                return Err(StoreError::NoMeta(dir.clone()));
            }
            let identity = Identity { node_id: options.node_id, incarnation: options.fresh_incarnation };
            replace(disk, dir, META, format_meta(identity).into()).await?;
            Ok(Folder { lock, identity, first_use: true })
        }
        Err(error) => Err(StoreError::disk("cannot read", path)(error)),
    }
}

/// Writes a file as a whole: after a crash it is the old one or the new one.
pub(super) async fn replace<D: Disk>(
    disk: &D,
    dir: &Path,
    name: &str,
    content: Bytes,
) -> Result<(), StoreError> {
    let path = dir.join(name);
    let tmp = dir.join(format!("{name}.tmp"));
    let lane = Lane::Background;
    let write = async {
        disk.remove(lane, &tmp).await?;
        let file = disk.open(lane, &tmp, Open::Write).await?;
        disk.write_at(lane, &file, 0, vec![content], Then::Sync).await?;
        disk.rename(lane, &tmp, &path).await?;
        disk.sync_dir(lane, dir).await
    };
    write.await.map_err(StoreError::disk("cannot write", &path))
}

fn format_meta(identity: Identity) -> String {
    format!(
        "# Whose folder this is. Written once, by Seedlog.\nversion={META_VERSION}\nnode.id={}\nincarnation={}\n",
        identity.node_id, identity.incarnation
    )
}

pub(super) fn parse_meta(path: &Path, text: &[u8]) -> Result<Identity, StoreError> {
    let bad = |what| StoreError::BadMeta { path: path.to_owned(), what };
    let text = std::str::from_utf8(text).map_err(|_| bad("it is not text"))?;
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
    };
    let version = value("version").and_then(|value| value.parse::<u32>().ok());
    let version = version.ok_or_else(|| bad("it has no version"))?;
    if version > META_VERSION {
        return Err(StoreError::NewerMeta { path: path.to_owned(), version });
    }
    let uuid = |key| value(key).and_then(Uuid::parse);
    Ok(Identity {
        node_id: value("node.id")
            .and_then(|value| value.parse().ok())
            .map(NodeId)
            .ok_or_else(|| bad("it has no valid node.id"))?,
        incarnation: uuid("incarnation").ok_or_else(|| bad("it has no valid incarnation"))?,
    })
}

fn check(options: &StoreOptions, identity: Identity) -> Result<(), StoreError> {
    let path = options.log_dir.clone();
    if options.node_id != identity.node_id {
        return Err(StoreError::OtherNode { path, found: identity.node_id, expected: options.node_id });
    }
    Ok(())
}
