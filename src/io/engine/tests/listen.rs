use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use super::*;
use crate::limits::ACCEPTED_WAITING_MAX;

#[test]
fn serves_a_thousand_connections_at_once() {
    on_both(|| async {
        let (listener, address) = listener();
        spawn(async move {
            loop {
                let Ok(stream) = listener.accept().await else { return };
                spawn(async move {
                    while let Ok(buf) = stream.recv().await {
                        if buf.is_empty() || stream.send(buf).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let mut streams = Vec::new();
        for _ in 0..1_000 {
            streams.push(Stream::connect(address).await.unwrap());
        }
        let done = Rc::new(Cell::new(0));
        for (index, stream) in streams.into_iter().enumerate() {
            let done = done.clone();
            spawn(async move {
                for round in 0..3 {
                    let request = (index * 3 + round).to_be_bytes().to_vec();
                    let (reply, request) = stream.send_vec_then_recv(request, &stream).await;
                    assert_eq!(&*reply.unwrap(), &request[..]);
                }
                done.set(done.get() + 1);
            });
        }
        until(|| done.get() == 1_000).await;
    });
}

#[test]
fn a_dropped_accept_loses_no_connection() {
    on_both(|| async {
        let (listener, address) = listener();
        let mut accepted = 0;
        for _ in 0..20 {
            let _far = TcpStream::connect(address).unwrap();
            if let Either::Left(stream) = race(listener.accept(), std::future::ready(())).await {
                stream.unwrap();
                accepted += 1;
            }
        }
        while accepted < 20 {
            listener.accept().await.unwrap();
            accepted += 1;
        }
    });
}

#[test]
fn connections_beyond_the_bound_stay_in_the_backlog() {
    on_both(|| async {
        let (listener, address) = listener();
        assert!(matches!(race(listener.accept(), pass(2)).await, Either::Right(())));
        // The kernel accepts what is there in one go; from then on the bound holds.
        let mut clients: Vec<_> = (0..ACCEPTED_WAITING_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        sleep(Duration::from_millis(5)).await;
        let ahead = listener.ahead();
        clients.extend((0..30).map(|_| TcpStream::connect(address).unwrap()));
        sleep(Duration::from_millis(5)).await;
        assert_eq!(listener.ahead(), ahead);
        for mut far in clients {
            let near = listener.accept().await.unwrap();
            near.send(Buf::from(b"x".to_vec())).await.unwrap();
            drop(near);
            // Accepted in the order in which they connected.
            assert_eq!(far.read(&mut [0; 2]).unwrap(), 1);
        }
    });
}

#[test]
fn a_dropped_listener_closes_what_it_had_accepted() {
    on_both(|| async {
        let (listener, address) = listener();
        assert!(matches!(race(listener.accept(), pass(2)).await, Either::Right(())));
        let mut far = TcpStream::connect(address).unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        pass(3).await;
        drop(listener);
        until(|| in_flight() == 0).await;
        assert!(!matches!(far.read(&mut [0]), Ok(1..)));
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn outlives_connections_that_are_reset_before_they_are_accepted() {
    on_both(|| async {
        let (listener, address) = listener();
        for _ in 0..20 {
            let far = TcpStream::connect(address).unwrap();
            Stream::from_std(far).unwrap().reset();
        }
        let mut far = TcpStream::connect(address).unwrap();
        far.write_all(b"alive").unwrap();
        loop {
            let near = listener.accept().await.unwrap();
            match near.recv().await {
                Ok(buf) if &*buf == b"alive" => return,
                _ => {}
            }
        }
    });
}
