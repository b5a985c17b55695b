//! Check of the user and group that the process becomes.

use nix::unistd::{Group, User};

use super::error::shown;
use super::file::FileConfig;
use super::problems::Problems;

/// A user of this machine, and the group that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcUser {
    /// `proc-user`.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id: `proc-group`, or else the user's own group.
    pub gid: u32,
}

pub(super) fn check_proc_user(file: &FileConfig, problems: &mut Problems<'_>) -> Option<ProcUser> {
    let group = file.proc_group.as_deref();
    let Some(name) = &file.proc_user else {
        if group.is_some() {
            let problem = "there is no proc-user, and root is root in any group";
            problems.wrong("proc-group", None, problem, "give proc-user as well");
        }
        return None;
    };
    let user = looked_up(
        "proc-user",
        "user",
        "passwd",
        name,
        User::from_name,
        problems,
    )?;
    if user.uid.is_root() {
        let problem = format!(
            "{} has the rights of root, which the process is to give up",
            shown(name)
        );
        problems.wrong("proc-user", None, problem, "name another user");
        return None;
    }
    let gid = match group {
        None => user.gid,
        Some(name) => {
            looked_up(
                "proc-group",
                "group",
                "group",
                name,
                Group::from_name,
                problems,
            )?
            .gid
        }
    };
    Some(ProcUser {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: gid.as_raw(),
    })
}

/// Entry of the system's user or group database with this name; an absent one is an error of `key`.
fn looked_up<T>(
    key: &str,
    kind: &str,
    database: &str,
    name: &str,
    look_up: impl Fn(&str) -> nix::Result<Option<T>>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    // The C library would take the text before the NUL.
    let found = if name.contains('\0') {
        Ok(None)
    } else {
        look_up(name)
    };
    match found {
        Ok(Some(found)) => return Some(found),
        Ok(None) => {
            let problem = format!("there is no {kind} {}", shown(name));
            let remedy = format!(
                "make it with `{kind}add --system`, or name one that `getent {database}` lists"
            );
            problems.wrong(key, None, problem, remedy);
        }
        Err(error) => {
            let problem = format!("{kind} {} cannot be looked up: {error}", shown(name));
            problems.wrong(
                key,
                None,
                problem,
                format!("see that `getent {database}` works"),
            );
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Option<ProcUser>, String> {
        Config::from_toml(&format!("no-auth = true\n{text}"))
            .map(|config| config.user)
            .map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
    }

    #[test]
    fn a_user_and_its_group() {
        assert_eq!(read(""), Ok(None));
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let expected = |gid| {
            let (name, uid) = ("nobody".to_owned(), nobody.uid.as_raw());
            Ok(Some(ProcUser { name, uid, gid }))
        };
        assert_eq!(read("proc-user = 'nobody'"), expected(nobody.gid.as_raw()));
        let mail = Group::from_name("mail").unwrap().unwrap().gid.as_raw();
        let text = "proc-user = 'nobody'\nproc-group = 'mail'";
        assert_eq!(read(text), expected(mail));
    }

    #[test]
    fn wrong_users_and_groups() {
        for (text, message) in [
            (
                "proc-user = 'nosuchuser'",
                "proc-user: there is no user \"nosuchuser\"; make it with `useradd --system`, or name one that `getent passwd` lists",
            ),
            (
                "proc-user = \"nobody\\u0000\"",
                "proc-user: there is no user \"nobody\\0\"; make it with `useradd --system`, or name one that `getent passwd` lists",
            ),
            (
                "proc-user = 'root'",
                "proc-user: \"root\" has the rights of root, which the process is to give up; name another user",
            ),
            (
                "proc-group = 'mail'",
                "proc-group: there is no proc-user, and root is root in any group; give proc-user as well",
            ),
        ] {
            assert_eq!(read(text), Err(format!("turnd.toml:2: {message}\n")));
        }
        assert_eq!(
            read("proc-user = 'nobody'\nproc-group = 'nosuchgroup'"),
            Err("turnd.toml:3: proc-group: there is no group \"nosuchgroup\"; make it with `groupadd --system`, or name one that `getent group` lists\n".to_owned())
        );
    }
}
