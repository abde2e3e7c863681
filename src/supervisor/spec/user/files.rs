//! What the image's /etc/passwd and /etc/group say of one account, read line by line: an image may have any number of
//! lines, and no more is kept of them than the answer.

use std::collections::HashSet;

use super::Named;
use crate::supervisor::spec::SpecError;
use crate::supervisor::spec::layers::Layers;

/// Bytes of a file of the image, at most.
const MAX_LEN: u64 = 4 << 20;
/// Supplementary groups of a process, at most (`NGROUPS_MAX`, setgroups(2)).
const MAX_GROUPS: usize = 65536;

/// What is needed of a line of passwd(5).
#[derive(Debug, PartialEq, Eq)]
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// What is needed of a line of group(5).
#[derive(Debug, PartialEq, Eq)]
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// A line that cannot be understood is passed over, as the C library does.
fn account(line: &str) -> Option<Account<'_>> {
    let mut parts = line.split(':');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let uid = parts.nth(1)?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    Some(Account { name, uid, gid })
}

/// As [`account`].
fn group(line: &str) -> Option<Group<'_>> {
    let mut parts = line.split(':');
    let name = parts.next().filter(|name| !name.is_empty())?;
    let gid = parts.nth(1)?.parse().ok()?;
    let members = parts.next().unwrap_or("").trim_end();
    Some(Group { name, gid, members })
}

/// The name, id and group of the first account of that name or id in the image's /etc/passwd.
pub(super) fn find_account(
    layers: Layers<'_>,
    user: &Named,
) -> Result<Option<(String, u32, u32)>, SpecError> {
    let mut found = None;
    layers.lines("etc/passwd", MAX_LEN, |line| {
        if found.is_some() {
            return;
        }
        let this = account(line).filter(|account| match user {
            Named::Id(uid) => account.uid == *uid,
            Named::Name(name) => account.name == name,
        });
        found = this.map(|account| (account.name.to_owned(), account.uid, account.gid));
    })?;
    Ok(found)
}

/// Groups, each once, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) order: Vec<u32>,
    seen: HashSet<u32>,
}

impl Groups {
    /// Adds a group. One more than a process can have is kept, to tell that there are too many; those after it are not.
    pub(super) fn add(&mut self, gid: u32) {
        if self.order.len() <= MAX_GROUPS && self.seen.insert(gid) {
            self.order.push(gid);
        }
    }

    /// `field` is what is to blame for too many.
    pub(super) fn check(&self, field: impl Into<String>) -> Result<(), SpecError> {
        if self.order.len() <= MAX_GROUPS {
            return Ok(());
        }
        let reason = format!(
            "the process would have more than {MAX_GROUPS} supplementary groups, the kernel's limit (NGROUPS_MAX)"
        );
        Err(SpecError::invalid(field, reason))
    }
}

/// What the image's /etc/group says.
#[derive(Debug, Default)]
pub(super) struct InImage {
    /// The id of the group that was looked for by its name.
    pub(super) wanted: Option<u32>,
    /// The groups of the account.
    pub(super) groups: Groups,
}

/// Reads the image's /etc/group: the group called `wanted`, and those that list `account` among their members.
pub(super) fn find_groups(
    layers: Layers<'_>,
    wanted: Option<&str>,
    account: Option<&str>,
) -> Result<InImage, SpecError> {
    let mut found = InImage::default();
    layers.lines("etc/group", MAX_LEN, |line| {
        let Some(group) = group(line) else { return };
        if found.wanted.is_none() && wanted == Some(group.name) {
            found.wanted = Some(group.gid);
        }
        if account.is_some_and(|account| group.members.split(',').any(|one| one == account)) {
            found.groups.add(group.gid);
        }
    })?;
    found.groups.check("image /etc/group")?;
    Ok(found)
}
