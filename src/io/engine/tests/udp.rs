use std::net::UdpSocket;

use super::*;

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    on_both(|| async {
        for address in ["127.0.0.7:0", "[::1]:0"] {
            let server = Datagram::from_std(UdpSocket::bind(address).unwrap()).unwrap();
            let asked = server.local_addr().unwrap();
            spawn(async move {
                while let Ok((question, from)) = server.recv_from().await {
                    server.send_to(&question.to_ascii_uppercase(), from).await.unwrap();
                }
            });
            let any = if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let client = Datagram::from_std(UdpSocket::bind(any).unwrap()).unwrap();
            for length in [1, 12, 512, 1232, 60_000] {
                let question = vec![b'q'; length];
                client.send_to(&question, asked).await.unwrap();
                let (answer, from) = client.recv_from().await.unwrap();
                assert_eq!((from, &*answer), (asked, &vec![b'Q'; length][..]));
            }
        }
    });
}

#[test]
fn a_dropped_receive_loses_no_datagram() {
    on_both(|| async {
        let server = Datagram::from_std(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for round in 0..100u8 {
            assert!(matches!(race(server.recv_from(), pass(1)).await, Either::Right(())));
            client.send_to(&[round], server.local_addr().unwrap()).unwrap();
            assert_eq!(&*server.recv_from().await.unwrap().0, [round]);
        }
        drop(server);
        until(|| in_flight() == 0).await;
    });
}

#[test]
fn a_refused_datagram_does_not_end_the_socket() {
    on_both(|| async {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let datagram = Datagram::from_std(socket).unwrap();
        for _ in 0..5 {
            let _ = datagram.send_to(b"nobody", gone).await;
            assert!(matches!(race(datagram.recv_from(), pass(3)).await, Either::Right(()) | Either::Left(Err(_))));
        }
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"alive", address).unwrap();
        assert_eq!(&*datagram.recv_from().await.unwrap().0, b"alive");
    });
}
