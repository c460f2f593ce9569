use std::io::{Read, Write};

use super::*;

#[test]
fn sends_and_receives_in_one_exchange() {
    on_both(|| async {
        let (near, far) = pair().await;
        spawn(async move {
            let mut reply = Vec::new();
            loop {
                reply.clear();
                match far.recv().await {
                    Ok(buf) if !buf.is_empty() => reply.extend(buf.iter().map(u8::to_ascii_uppercase)),
                    _ => return,
                }
                let (result, vector) = far.send_vec(reply).await;
                result.unwrap();
                reply = vector;
            }
        });
        let mut request = Vec::with_capacity(64);
        let at = request.as_ptr();
        for _ in 0..1_000 {
            request.clear();
            request.extend_from_slice(b"question");
            let (reply, vector) = near.send_vec_then_recv(request, &near).await;
            assert_eq!(&*reply.unwrap(), b"QUESTION");
            request = vector;
        }
        assert_eq!(request.as_ptr(), at, "the same vector comes back each time");
    });
}

#[test]
fn relays_between_two_streams_with_exchanges() {
    on_both(|| async {
        let (client, inner) = pair().await;
        let (outer, server) = pair().await;
        spawn(async move {
            let mut buf = inner.recv().await.unwrap();
            while !buf.is_empty() {
                buf = outer.send_vec_then_recv(buf.to_vec(), &outer).await.0.unwrap();
                buf = inner.send_vec_then_recv(buf.to_vec(), &inner).await.0.unwrap();
            }
        });
        spawn(async move {
            let mut buf = server.recv().await.unwrap();
            while !buf.is_empty() {
                buf = server.send_vec_then_recv(buf.to_vec(), &server).await.0.unwrap();
            }
        });
        for round in 0..1_000u32 {
            let request = round.to_be_bytes().to_vec();
            let (reply, request) = client.send_vec_then_recv(request, &client).await;
            assert_eq!(&*reply.unwrap(), &request[..]);
        }
    });
}

#[test]
fn an_exchange_whose_send_fails_ends_and_leaves_nothing() {
    on_both(|| async {
        let (near, _far) = pair().await;
        let (idle, _other) = pair().await;
        near.shutdown_write().unwrap();
        for _ in 0..100 {
            let (reply, vector) = near.send_vec_then_recv(vec![1; 10], &idle).await;
            assert_eq!(reply.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
            assert_eq!(vector.len(), 10);
            assert_eq!(in_flight(), 0);
        }
        // The receiving side is as good as before.
        _other.send(Buf::from(b"later".to_vec())).await.unwrap();
        assert_eq!(receive(&idle, 5).await, b"later");
    });
}

#[test]
fn an_exchange_whose_send_does_not_fit_is_completed() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        tighten(&near, &far);
        let sent = pattern(1024 * 1024);
        let expected = sent.clone();
        let peer = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            far.read_exact(&mut got).unwrap();
            assert!(got == expected);
            far.write_all(b"thanks").unwrap();
            far
        });
        let (reply, _) = near.send_vec_then_recv(sent, &near).await;
        assert_eq!(&*reply.unwrap(), b"thanks");
        peer.join().unwrap();
    });
}

#[test]
fn an_exchange_dropped_in_either_half_leaves_nothing() {
    on_both(|| async {
        for length in [100, 1024 * 1024] {
            let (near, far) = pair().await;
            tighten(&near, &far);
            let dropped = timeout(Duration::from_millis(5), near.send_vec_then_recv(vec![7; length], &near)).await;
            assert_eq!(dropped.err(), Some(Elapsed));
            drop(near);
            until(|| in_flight() == 0).await;
            drop(far);
        }
    });
}

#[test]
fn a_dropped_exchange_still_sends_and_its_reply_is_kept() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        tighten(&near, &far);
        let dropped = timeout(Duration::from_millis(2), near.send_vec_then_recv(b"question".to_vec(), &near)).await;
        assert_eq!(dropped.err(), Some(Elapsed));
        let mut question = [0; 8];
        far.read_exact(&mut question).unwrap();
        far.write_all(b"answer").unwrap();
        assert_eq!((&question, &*receive(&near, 6).await), (b"question", &b"answer"[..]));
    });
}

#[test]
fn sends_after_a_dropped_exchange_whether_or_not_its_send_was_done() {
    on_both(|| async {
        for length in [100, 1024 * 1024] {
            let (near, mut far) = witnessed().await;
            tighten(&near, &far);
            let sent = pattern(length);
            let dropped = timeout(Duration::from_millis(5), near.send_vec_then_recv(sent.clone(), &near)).await;
            assert_eq!(dropped.err(), Some(Elapsed));
            let peer = std::thread::spawn(move || {
                let mut got = vec![0; length + 4];
                far.read_exact(&mut got).unwrap();
                far.write_all(b"answer").unwrap();
                got
            });
            near.send(Buf::from(b"more".to_vec())).await.unwrap();
            assert_eq!(receive(&near, 6).await, b"answer");
            let got = peer.join().unwrap();
            assert!(got[..length] == sent && &got[length..] == b"more");
        }
    });
}

#[test]
fn the_receiving_half_survives_the_end_of_the_sending_stream() {
    on_both(|| async {
        for length in [100, 1024 * 1024] {
            let (near, _far) = pair().await;
            tighten(&near, &_far);
            let (from, mut other) = witnessed().await;
            let dropped = timeout(Duration::from_millis(5), near.send_vec_then_recv(vec![7; length], &from)).await;
            assert_eq!(dropped.err(), Some(Elapsed));
            drop(near);
            other.write_all(b"alive").unwrap();
            assert_eq!(receive(&from, 5).await, b"alive");
        }
    });
}

#[test]
fn an_exchange_returns_what_had_come_before() {
    on_both(|| async {
        let (near, mut far) = witnessed().await;
        assert_eq!(timeout(Duration::from_millis(2), near.recv()).await.err(), Some(Elapsed));
        far.write_all(b"early").unwrap();
        until(|| !near.is_quiet()).await;
        pass(3).await;
        let (reply, _) = near.send_vec_then_recv(b"question".to_vec(), &near).await;
        assert_eq!(&*reply.unwrap(), b"early");
        let mut question = [0; 8];
        far.read_exact(&mut question).unwrap();
    });
}
