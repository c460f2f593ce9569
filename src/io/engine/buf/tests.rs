use super::*;

fn filled(pool: &Rc<Pool>, text: &[u8]) -> Buf {
    let fill = |room: &mut [u8]| {
        room[..text.len()].copy_from_slice(text);
        Ok(text.len())
    };
    pool.fill(fill).unwrap().unwrap()
}

#[test]
fn splitting_and_advancing_copy_nothing_and_lose_nothing() {
    let pool = Rc::new(Pool::listed(2, 4096).unwrap());
    for mut buf in [filled(&pool, b"hello, world"), Buf::from(b"hello, world".to_vec())] {
        let at = buf.as_ptr();
        let mut front = buf.split_to(5);
        assert_eq!((&*front, &*buf), (&b"hello"[..], &b", world"[..]));
        assert_eq!(front.as_ptr(), at);
        buf.advance(2);
        buf.truncate(3);
        assert_eq!(&*buf, b"wor");
        front.advance(99);
        assert!(front.is_empty());
    }
    assert!(Buf::default().is_empty());
}

#[test]
fn a_buffer_returns_when_its_last_handle_is_dropped() {
    let pool = Rc::new(Pool::listed(1, 4096).unwrap());
    let mut buf = filled(&pool, b"abc");
    let front = buf.split_to(1);
    drop(buf);
    assert!(!pool.has_free());
    drop(front);
    assert!(pool.has_free());
}

#[test]
fn an_exhausted_pool_falls_back_to_a_bounded_heap() {
    let pool = Rc::new(Pool::listed(1, 64).unwrap());
    let mut held: Vec<_> = (0..=RECEIVE_BUFFERS_OVERFLOW_MAX).map(|_| filled(&pool, b"x")).collect();
    assert!(pool.fill(|_| Ok(1)).is_none());
    held.pop();
    assert_eq!(&*filled(&pool, b"y"), b"y");
}

#[test]
fn a_failed_fill_gives_the_buffer_back() {
    let pool = Rc::new(Pool::listed(1, 64).unwrap());
    assert!(pool.fill(|_| Err(io::ErrorKind::WouldBlock.into())).unwrap().is_err());
    assert!(pool.has_free());
}

/// Regression: a kept-alive connection held the buffer of its last request as long as it said nothing, so that 640 of them took all there are.
#[test]
fn a_handle_without_bytes_holds_no_buffer() {
    let pool = Rc::new(Pool::listed(1, 4096).unwrap());
    let mut inbox = filled(&pool, b"abc");
    let message = inbox.split_to(3);
    assert!(!pool.has_free());
    drop(message);
    assert!(pool.has_free() && inbox.is_empty());
}
