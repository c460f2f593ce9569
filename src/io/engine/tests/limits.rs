use std::io::Write;

use super::*;
use crate::limits::RECEIVE_BUFFERS_OVERFLOW_MAX;

#[test]
fn receives_go_on_when_every_buffer_is_held() {
    let options = Options { buffers: 2, buffer_bytes: 4096, ..Options::default() };
    with_options(options, || async {
        let (near, mut far) = witnessed().await;
        let mut held = Vec::new();
        for round in 0..100u8 {
            far.write_all(&[round; 10]).unwrap();
            let buf = near.recv().await.unwrap();
            assert_eq!(&*buf, [round; 10]);
            held.push(buf);
        }
        for (round, buf) in held.iter().enumerate() {
            assert!(buf.iter().all(|&byte| usize::from(byte) == round), "a held buffer was written to");
        }
    });
}

#[test]
fn receives_wait_for_a_buffer_once_the_heap_bound_is_reached() {
    let options = Options { buffers: 1, buffer_bytes: 64, ..Options::default() };
    with_options(options, || async {
        let (near, mut far) = witnessed().await;
        let mut held = Vec::new();
        for _ in 0..=RECEIVE_BUFFERS_OVERFLOW_MAX {
            far.write_all(b"x").unwrap();
            held.push(near.recv().await.unwrap());
        }
        far.write_all(b"y").unwrap();
        assert!(matches!(race(near.recv(), sleep(Duration::from_millis(5))).await, Either::Right(())));
        // Whichever comes back, the waiting receive goes on.
        let giver = async {
            sleep(Duration::from_millis(2)).await;
            drop(held.pop());
            std::future::pending::<()>().await;
        };
        let Either::Left(buf) = race(near.recv(), giver).await else { unreachable!("the giver never ends") };
        assert_eq!(&*buf.unwrap(), b"y");
    });
}

#[test]
fn many_more_receivers_than_buffers_all_get_their_bytes() {
    let options = Options { buffers: 4, buffer_bytes: 4096, entries: 32, ..Options::default() };
    with_options(options, || async {
        let mut streams = Vec::new();
        for index in 0..200u8 {
            let (near, mut far) = witnessed().await;
            spawn(async move {
                pass(2).await;
                assert_eq!(&*near.recv().await.unwrap(), [index]);
            });
            pass(1).await;
            far.write_all(&[index]).unwrap();
            streams.push(far);
        }
        until(|| in_flight() == 0).await;
    });
}

#[test]
fn auto_takes_epoll_and_says_why_where_seccomp_denies_io_uring() {
    // A filter binds the thread that installs it, and this thread ends with the test.
    let denials = [
        ("io_uring_setup", libc::SYS_io_uring_setup, libc::EPERM),
        ("io_uring_setup", libc::SYS_io_uring_setup, libc::ENOSYS),
        ("io_uring_setup", libc::SYS_io_uring_setup, libc::ENOMEM),
        ("io_uring_register", libc::SYS_io_uring_register, libc::EPERM),
        ("io_uring_enter", libc::SYS_io_uring_enter, libc::EPERM),
    ];
    for (name, call, errno) in denials {
        let thread = std::thread::spawn(move || {
            assert_eq!(select(Choice::Auto).unwrap(), Selected { backend: Backend::Uring, refused: None });
            deny(call, errno);
            let selected = select(Choice::Auto).unwrap();
            assert_eq!(selected.backend, Backend::Epoll);
            let why = selected.refused.unwrap();
            assert!(why.starts_with(name) && why.contains(&format!("os error {errno}")), "{why}");
            assert_eq!(select(Choice::Uring).unwrap_err().to_string(), why);
            assert_eq!(select(Choice::Epoll).unwrap(), Selected { backend: Backend::Epoll, refused: None });
            let engine = Engine::new(&Options::default()).unwrap();
            assert_eq!(engine.selected(), Selected { backend: Backend::Epoll, refused: Some(why) });
            engine.run(async {
                let (near, far) = pair().await;
                near.send(Buf::from(b"works".to_vec())).await.unwrap();
                assert_eq!(receive(&far, 5).await, b"works");
            });
        });
        thread.join().unwrap();
    }
}

fn deny(call: i64, errno: i32) {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    let rules = [(call, Vec::new())].into_iter().collect();
    let denied = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into().unwrap());
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}
