//! Who the container's first process is: what the request says, else what the image says, looked up in the image's
//! own /etc/passwd and /etc/group.

mod files;

use oci_spec::runtime::User;

use self::files::{Groups, find_account, find_groups};
use super::checks::{enumeration, id};
use super::layers::Layers;
use super::{SpecError, checks};
use crate::api::cri::{self, SupplementalGroupsPolicy};

const FIELD: &str = "linux.security_context";

/// A user or group, as a request or an image names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Id(u32),
    Name(String),
}

/// Who is asked for, and the fields that ask for it.
#[derive(Debug)]
struct Wanted {
    user: Named,
    user_field: String,
    group: Option<Named>,
    group_field: String,
}

fn wanted(context: &cri::LinuxContainerSecurityContext, image: &str) -> Result<Wanted, SpecError> {
    let user_field = format!("{FIELD}.run_as_user");
    let name_field = format!("{FIELD}.run_as_username");
    let group_field = format!("{FIELD}.run_as_group");
    let name = &context.run_as_username;
    checks::text(&name_field, name)?;
    let (user, user_field) = match (&context.run_as_user, name.is_empty()) {
        (Some(_), false) => {
            return Err(SpecError::invalid(name_field, "run_as_user is set as well"));
        }
        (Some(user), true) => (Named::Id(id(&user_field, user.value)?), user_field),
        (None, false) if name.contains(':') => {
            if context.run_as_group.is_some() {
                let reason = "run_as_username has a group as well";
                return Err(SpecError::invalid(group_field, reason));
            }
            return user_and_group(name, &name_field);
        }
        (None, false) => (Named::Name(name.clone()), name_field),
        (None, true) if context.run_as_group.is_some() => {
            return Err(SpecError::invalid(
                group_field,
                "neither run_as_user nor run_as_username is set",
            ));
        }
        (None, true) => return user_and_group(image, "image config.User"),
    };
    let group = match &context.run_as_group {
        Some(group) => Some(Named::Id(id(&group_field, group.value)?)),
        None => None,
    };
    Ok(Wanted {
        user,
        user_field,
        group,
        group_field,
    })
}

/// `user`, `uid`, `user:group`, `uid:gid` and their mixtures (OCI image-spec, `config.md`, `User`); root for none.
///
/// CRI has no name of a group. A `run_as_username` with a colon, which no name in passwd(5) has, is read in the same
/// way: so does containerd, which hands it to its `oci.WithUser`.
fn user_and_group(text: &str, field: &str) -> Result<Wanted, SpecError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let named = |text: &str| {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Named::Name(text.to_owned()));
        }
        let number = text.parse().unwrap_or(-1);
        id(field, number).map(Named::Id)
    };
    Ok(Wanted {
        user: if user.is_empty() {
            Named::Id(0)
        } else {
            named(user)?
        },
        user_field: field.into(),
        group: group
            .filter(|group| !group.is_empty())
            .map(named)
            .transpose()?,
        group_field: field.into(),
    })
}

/// The ids of the container's first process.
///
/// A group that is not asked for is the account's, 0 where there is no account. `Merge` adds the groups that the
/// image's /etc/group lists the account in, `Strict` does not; the first group is always among the further ones, so
/// that leaving it by setgid(2) cannot win what it denies (CVE-2022-2989, CVE-2023-25173).
pub(super) fn user(
    context: &cri::LinuxContainerSecurityContext,
    image: &str,
    layers: Layers<'_>,
) -> Result<User, SpecError> {
    let policy = enumeration(
        &format!("{FIELD}.supplemental_groups_policy"),
        context.supplemental_groups_policy,
    )?;
    let wanted = wanted(context, image)?;
    let found = find_account(layers, &wanted.user)?;
    let uid = match (&wanted.user, &found) {
        (Named::Id(uid), _) => *uid,
        (Named::Name(_), Some((_, uid, _))) => *uid,
        (Named::Name(name), None) => {
            let reason = format!("the image's /etc/passwd has no {name:?}");
            return Err(SpecError::invalid(wanted.user_field, reason));
        }
    };
    let group_name = match &wanted.group {
        Some(Named::Name(name)) => Some(name.as_str()),
        Some(Named::Id(_)) | None => None,
    };
    let account_name = match (policy, &found) {
        (SupplementalGroupsPolicy::Merge, Some((name, ..))) => Some(name.as_str()),
        _ => None,
    };
    let in_image = find_groups(layers, group_name, account_name)?;
    let gid = match &wanted.group {
        Some(Named::Id(gid)) => *gid,
        Some(Named::Name(name)) => in_image.wanted.ok_or_else(|| {
            let reason = format!("the image's /etc/group has no {name:?}");
            SpecError::invalid(wanted.group_field, reason)
        })?,
        None => found.as_ref().map_or(0, |(_, _, gid)| *gid),
    };
    let mut further = Groups::default();
    further.add(gid);
    for gid in in_image.groups.order {
        further.add(gid);
    }
    for (index, group) in context.supplemental_groups.iter().enumerate() {
        let field = format!("{FIELD}.supplemental_groups[{index}]");
        further.add(id(&field, *group)?);
    }
    further.check(format!("{FIELD}.supplemental_groups"))?;
    let mut user = User::default();
    user.set_uid(uid)
        .set_gid(gid)
        .set_additional_gids(Some(further.order));
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::scratch::Scratch;

    type Context = cri::LinuxContainerSecurityContext;

    fn resolve(context: &Context, image: &str) -> Result<(u32, u32, Vec<u32>), SpecError> {
        let layer = Scratch::new();
        layer.write(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nbroken\napp:x:100:101:,:/:/bin/sh\n",
        );
        layer.write(
            "etc/group",
            "root:x:0:root\napp:x:101:\nlog:x:7:app,root\nnet:x:8:other,app\n:x\n",
        );
        let paths = [layer.path().to_owned()];
        let user = user(context, image, Layers::new(&paths))?;
        let further = user.additional_gids().clone().unwrap();
        Ok((user.uid(), user.gid(), further))
    }

    fn number(value: i64) -> Option<cri::Int64Value> {
        Some(cri::Int64Value { value })
    }

    fn field(context: &Context) -> String {
        let error = resolve(context, "").unwrap_err();
        error
            .field()
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn an_image_names_its_user_in_every_form() {
        let context = Context::default();
        for (text, expected) in [
            ("", (0, 0, vec![0, 7])),
            ("app", (100, 101, vec![101, 7, 8])),
            ("100", (100, 101, vec![101, 7, 8])),
            ("app:log", (100, 7, vec![7, 8])),
            ("100:55", (100, 55, vec![55, 7, 8])),
            ("4000", (4000, 0, vec![0])),
            ("4000:app", (4000, 101, vec![101])),
            (":7", (0, 7, vec![7, 0])),
            ("app:", (100, 101, vec![101, 7, 8])),
        ] {
            assert_eq!(resolve(&context, text).unwrap(), expected, "{text:?}");
        }
        for text in ["nobody", "0:nogroup", "4294967295", "99999999999999999999"] {
            let error = resolve(&context, text).unwrap_err();
            assert_eq!(error.field(), Some("image config.User"), "{text}");
        }
    }

    #[test]
    fn a_request_overrides_the_image() {
        let mut context = Context {
            run_as_user: number(100),
            ..Context::default()
        };
        assert_eq!(
            resolve(&context, "root:log").unwrap(),
            (100, 101, vec![101, 7, 8])
        );
        context.run_as_group = number(9);
        assert_eq!(resolve(&context, "").unwrap(), (100, 9, vec![9, 7, 8]));
        context.supplemental_groups = vec![8, 3000];
        assert_eq!(
            resolve(&context, "").unwrap(),
            (100, 9, vec![9, 7, 8, 3000])
        );
        context.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
        assert_eq!(resolve(&context, "").unwrap(), (100, 9, vec![9, 8, 3000]));
        context.run_as_user = None;
        context.run_as_username = "app".into();
        assert_eq!(resolve(&context, "").unwrap(), (100, 9, vec![9, 8, 3000]));
    }

    #[test]
    fn a_requests_user_name_may_have_a_group_by_name_or_number() {
        for (text, expected) in [
            ("app:log", (100, 7, vec![7, 8])),
            ("app:55", (100, 55, vec![55, 7, 8])),
            ("4000:app", (4000, 101, vec![101])),
        ] {
            let context = Context {
                run_as_username: text.into(),
                ..Context::default()
            };
            assert_eq!(resolve(&context, "root").unwrap(), expected, "{text}");
        }
        for text in ["nobody:log", "app:nogroup", "4294967295:log"] {
            let context = Context {
                run_as_username: text.into(),
                ..Context::default()
            };
            assert_eq!(field(&context), "run_as_username", "{text}");
        }
        let twice = Context {
            run_as_username: "app:log".into(),
            run_as_group: number(7),
            ..Context::default()
        };
        assert_eq!(field(&twice), "run_as_group");
    }

    #[test]
    fn more_groups_than_the_kernel_has_room_for_are_refused() {
        use std::fmt::Write as _;
        let context = |groups: std::ops::Range<i64>| Context {
            supplemental_groups: groups.collect(),
            ..Context::default()
        };
        // The first group of root is 0.
        assert_eq!(
            resolve(&context(100_000..165_534), "").unwrap().2.len(),
            65_536
        );
        let refused = resolve(&context(100_000..165_535), "").unwrap_err();
        assert_eq!(
            refused.field(),
            Some("linux.security_context.supplemental_groups")
        );
        assert!(refused.to_string().contains("65536"), "{refused}");

        let layer = Scratch::new();
        layer.write("etc/passwd", "app:x:100:0:::");
        let mut groups = String::new();
        for gid in 1..=70_000 {
            writeln!(groups, "g{gid}:x:{gid}:app").unwrap();
        }
        layer.write("etc/group", groups);
        let paths = [layer.path().to_owned()];
        let refused = user(&Context::default(), "app", Layers::new(&paths)).unwrap_err();
        assert_eq!(refused.field(), Some("image /etc/group"));
        let strict = Context {
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict.into(),
            ..Context::default()
        };
        let user = user(&strict, "app", Layers::new(&paths)).unwrap();
        assert_eq!(user.additional_gids().as_deref(), Some(&[0][..]));
    }

    #[test]
    fn what_makes_no_sense_names_its_field() {
        let base = Context::default();
        let group_only = Context {
            run_as_group: number(1),
            ..base.clone()
        };
        assert_eq!(field(&group_only), "run_as_group");
        let both = Context {
            run_as_user: number(1),
            run_as_username: "app".into(),
            ..base.clone()
        };
        assert_eq!(field(&both), "run_as_username");
        let unknown = Context {
            run_as_username: "nobody".into(),
            ..base.clone()
        };
        assert_eq!(field(&unknown), "run_as_username");
        let negative = Context {
            run_as_user: number(-1),
            ..base.clone()
        };
        assert_eq!(field(&negative), "run_as_user");
        let groups = Context {
            supplemental_groups: vec![1, -7],
            ..base.clone()
        };
        assert_eq!(field(&groups), "supplemental_groups[1]");
        let policy = Context {
            supplemental_groups_policy: 9,
            ..base
        };
        assert_eq!(field(&policy), "supplemental_groups_policy");
    }
}
