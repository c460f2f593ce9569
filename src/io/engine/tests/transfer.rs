use std::io::{Read, Write};

use super::*;

#[test]
fn echoes_from_one_byte_to_a_mebibyte() {
    on_both(|| async {
        let (near, far) = pair().await;
        spawn(async move {
            while let Ok(buf) = far.recv().await {
                if buf.is_empty() || far.send(buf).await.is_err() {
                    break;
                }
            }
        });
        for length in [1, 2, 255, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, 1024 * 1024] {
            let sent = pattern(length);
            // Both directions at once: a mebibyte does not fit the two socket buffers.
            let send = near.send_vec(sent.clone());
            let both = async {
                let receive = receive(&near, length);
                let (mut send, mut receive) = (std::pin::pin!(send), std::pin::pin!(receive));
                let (mut done, mut got) = (None, None);
                std::future::poll_fn(|cx| {
                    if done.is_none()
                        && let std::task::Poll::Ready(value) = send.as_mut().poll(cx)
                    {
                        done = Some(value);
                    }
                    if got.is_none()
                        && let std::task::Poll::Ready(value) = receive.as_mut().poll(cx)
                    {
                        got = Some(value);
                    }
                    if done.is_some() && got.is_some() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                (done.unwrap(), got.unwrap())
            };
            let ((result, vector), got) = both.await;
            result.unwrap();
            assert_eq!(vector.len(), length, "the vector comes back");
            assert!(got == sent, "{length} bytes differ");
        }
    });
}

#[test]
fn receives_a_stream_split_anywhere() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        let sent = pattern(64);
        for split in 0..=sent.len() {
            let (first, second) = sent.split_at(split);
            far.write_all(first).unwrap();
            let mut got = receive(&near, first.len()).await;
            far.write_all(second).unwrap();
            got.extend(receive(&near, second.len()).await);
            assert_eq!(got, sent);
        }
    });
}

#[test]
fn completes_a_send_that_the_socket_takes_piece_by_piece() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        tighten(&near, &far);
        let sent = pattern(8 * 1024 * 1024);
        let expected = sent.clone();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            far.read_exact(&mut got).unwrap();
            got == expected
        });
        near.send_vec(sent).await.0.unwrap();
        assert!(reader.join().unwrap());
    });
}

#[test]
fn the_end_of_the_stream_is_empty_and_stays_so() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        far.write_all(b"last").unwrap();
        drop(far);
        assert_eq!(receive(&near, 4).await, b"last");
        for _ in 0..3 {
            assert!(near.recv().await.unwrap().is_empty());
        }
    });
}

#[test]
fn shutting_down_the_writing_side_keeps_the_reading_side() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        near.send(Buf::from(b"question".to_vec())).await.unwrap();
        near.shutdown_write().unwrap();
        let mut question = String::new();
        far.read_to_string(&mut question).unwrap();
        far.write_all(b"answer").unwrap();
        assert_eq!((question.as_str(), receive(&near, 6).await), ("question", b"answer".to_vec()));
    });
}

#[test]
fn sending_to_a_closed_peer_is_an_error_and_no_signal() {
    on_both(|| async {
        let (near, far) = witnessed().await;
        drop(far);
        let error = loop {
            if let (Err(error), _) = near.send_vec(vec![1; 1000]).await {
                break error;
            }
        };
        assert!(
            matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset),
            "{error}"
        );
        while let (Ok(()), _) = near.send_vec(vec![1]).await {}
    });
}

#[test]
fn dropping_a_stream_shows_the_peer_the_end() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        // With a receive under way, which holds the descriptor for a while.
        let (near, mut far) = witnessed().await;
        assert_eq!(timeout(Duration::from_millis(2), near.recv()).await.err(), Some(Elapsed));
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        until(|| in_flight() == 0).await;
    });
}

#[test]
fn resetting_a_stream_shows_the_peer_a_reset() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        assert_eq!(timeout(Duration::from_millis(2), near.recv()).await.err(), Some(Elapsed));
        near.reset();
        until(|| in_flight() == 0).await;
        pass(2).await;
        assert_eq!(far.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_by_the_peer_is_an_error_for_the_receiver() {
    on_both(|| async {
        let (near, far) = witnessed().await;
        Stream::from_std(far).unwrap().reset();
        assert_eq!(near.recv().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_stream_is_quiet_until_bytes_or_the_end_come() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        assert!(near.is_quiet());
        far.write_all(b"early").unwrap();
        until(|| !near.is_quiet()).await;
        receive(&near, 5).await;
        assert!(near.is_quiet());
        // The same with a receive left over from a dropped future, which takes the bytes in.
        assert_eq!(timeout(Duration::from_millis(2), near.recv()).await.err(), Some(Elapsed));
        assert!(near.is_quiet());
        far.write_all(b"early").unwrap();
        until(|| !near.is_quiet()).await;
        pass(3).await;
        assert!(!near.is_quiet());
        assert_eq!(receive(&near, 5).await, b"early");
        drop(far);
        until(|| !near.is_quiet()).await;
    });
}

#[test]
fn one_receive_and_one_send_at_once_but_not_two() {
    on_both(|| async {
        let (near, _far) = pair().await;
        let Either::Left(second) = race(
            async {
                let first = std::pin::pin!(near.recv());
                let Either::Right(second) = race(first, near.recv()).await else { unreachable!("nothing was sent") };
                second
            },
            sleep(PATIENCE),
        )
        .await
        else {
            unreachable!("the second receive waited")
        };
        assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    });
}

#[test]
fn knows_its_addresses_and_sends_without_delay() {
    on_both(|| async {
        let (near, far) = pair().await;
        assert_eq!(near.local_addr().unwrap(), far.peer_addr().unwrap());
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
        for stream in [&near, &far] {
            assert!(nix::sys::socket::getsockopt(&stream.as_fd(), nix::sys::socket::sockopt::TcpNoDelay).unwrap());
            assert!(nix::sys::socket::getsockopt(&stream.as_fd(), nix::sys::socket::sockopt::KeepAlive).unwrap());
            let idle = nix::sys::socket::getsockopt(&stream.as_fd(), nix::sys::socket::sockopt::TcpKeepIdle).unwrap();
            assert_eq!(idle, crate::limits::KEEP_ALIVE_IDLE_SECONDS);
        }
    });
}

#[test]
fn connects_over_ipv6_and_reports_a_refusal() {
    on_both(|| async {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(Stream::connect(address).await.unwrap().peer_addr().unwrap(), address);
        drop(listener);
        assert_eq!(Stream::connect(address).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    });
}
