//! The command as the kernel takes it: arguments, environment, and the search along PATH that `execvp` does, with exit codes as of env(1).

use std::{
    convert::Infallible,
    ffi::{CString, NulError, OsStr, OsString},
    io::{self, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use nix::{errno::Errno, unistd::execve};

use super::error::{FenceError, Step};

/// Prepared before anything is forked, so that only system calls remain.
pub(super) struct Command {
    name: OsString,
    /// What to try, in order: the one path when the name has a slash, else one a folder of PATH.
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Command {
    /// `inherited` minus every proxy variable and those in `remove`, then with `set`.
    pub(super) fn prepare(
        command: &[OsString],
        inherited: impl Iterator<Item = (OsString, OsString)>,
        remove: &[OsString],
        set: &[(OsString, OsString)],
    ) -> Result<Self, FenceError> {
        let refused = |subject: &OsStr| {
            FenceError::new(Step::Command, subject.to_string_lossy(), io::Error::from_raw_os_error(libc::EINVAL))
        };
        let name = command.first().ok_or_else(|| refused(OsStr::new("no command")))?;
        let kept = inherited.filter(|(name, _)| !is_proxy_variable(name) && !remove.contains(name));
        let mut environment: Vec<(OsString, OsString)> =
            kept.filter(|(name, _)| !set.iter().any(|(new, _)| new == name)).collect();
        environment.extend_from_slice(set);
        let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_: NulError| refused(text));
        Ok(Self {
            name: name.clone(),
            candidates: candidates(name, path.as_deref()).iter().map(|path| text(path)).collect::<Result<_, _>>()?,
            arguments: command.iter().map(|argument| text(argument)).collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|(name, value)| text(&OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat())))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the command, or says on stderr why not and answers the exit code: 127 when there is none of that name, else 126.
    pub(super) fn execute(&self) -> i32 {
        let mut answer = Errno::ENOENT;
        for path in &self.candidates {
            let Err(error) = self.execute_at(path);
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // As execvp does: a folder of PATH that refuses does not end the search, but is remembered.
                Errno::EACCES => answer = error,
                _ => {
                    answer = error;
                    break;
                }
            }
        }
        let _ = writeln!(io::stderr(), "ringfence: {}: {}", self.name.to_string_lossy(), answer.desc());
        if answer == Errno::ENOENT { 127 } else { 126 }
    }

    fn execute_at(&self, path: &CString) -> Result<Infallible, Errno> {
        let Err(error) = execve(path, &self.arguments, &self.environment);
        if error != Errno::ENOEXEC {
            return Err(error);
        }
        // A script without `#!` line, which execvp gives to the shell.
        let mut arguments = vec![SHELL.to_owned(), path.clone()];
        arguments.extend(self.arguments.iter().skip(1).cloned());
        execve(SHELL, &arguments, &self.environment)
    }
}

/// `HTTP_PROXY`, `https_proxy`, `ALL_PROXY`, `npm_config_proxy` …: whatever they name cannot be reached, and what goes through one would
/// name its destination to it instead of to us.
fn is_proxy_variable(name: &OsStr) -> bool {
    let name = name.as_bytes().to_ascii_lowercase();
    name.ends_with(b"_proxy") || name == b"npm_config_noproxy"
}

fn candidates(name: &OsStr, path: Option<&OsStr>) -> Vec<OsString> {
    if name.is_empty() {
        return Vec::new();
    }
    if name.as_bytes().contains(&b'/') {
        return vec![name.to_owned()];
    }
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH)).as_bytes();
    let join = |folder: &[u8]| {
        // An empty element of PATH is the working directory.
        let folder = if folder.is_empty() { b"." } else { folder };
        OsString::from_vec([folder, b"/", name.as_bytes()].concat())
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

const SHELL: &std::ffi::CStr = c"/bin/sh";
/// What glibc searches when PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(variables: &[(&str, &str)], remove: &[&str], set: &[(&str, &str)]) -> Command {
        let own =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>();
        let remove: Vec<OsString> = remove.iter().map(Into::into).collect();
        Command::prepare(&["tool".into(), "-x".into()], own(variables).into_iter(), &remove, &own(set)).unwrap()
    }

    #[test]
    fn proxy_variables_go_in_any_case_and_others_stay() {
        let inherited = [
            ("HTTP_PROXY", "a"),
            ("https_proxy", "b"),
            ("No_Proxy", "c"),
            ("GOPROXY", "d"),
            ("SECRET", "e"),
            ("HOME", "/h"),
        ];
        let command = prepared(&inherited, &["SECRET"], &[("HOME", "/new"), ("all_proxy", "ours")]);
        let environment: Vec<_> = command.environment.iter().map(|text| text.to_str().unwrap()).collect();
        assert_eq!(environment, ["GOPROXY=d", "HOME=/new", "all_proxy=ours"]);
    }

    #[test]
    fn searches_the_path_that_the_command_will_see() {
        let command = prepared(&[("PATH", "/a")], &[], &[("PATH", "/b::/c")]);
        let paths: Vec<_> = command.candidates.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/b/tool", "./tool", "/c/tool"]);
        assert_eq!(candidates(OsStr::new("./tool"), None), ["./tool"]);
        assert!(candidates(OsStr::new(""), None).is_empty());
    }

    #[test]
    fn refuses_no_command_and_embedded_nul() {
        assert!(Command::prepare(&[], std::iter::empty(), &[], &[]).is_err());
        assert!(Command::prepare(&["a\0b".into()], std::iter::empty(), &[], &[]).is_err());
    }
}
