import { describe, expect, it, vi } from 'vitest';
import { openUnlessAborted } from './ort-session.ts';

describe('what is being opened when its signal is aborted', () => {
  it('is not waited for, and closed when it is open', async () => {
    let finish = (_: string) => {};
    const close = vi.fn(async () => {});
    const stop = new AbortController();
    const opening = openUnlessAborted(stop.signal, () => new Promise<string>((resolve) => (finish = resolve)), close);
    stop.abort();
    await expect(opening).rejects.toMatchObject({ code: 'interrupted' });
    expect(close).not.toHaveBeenCalled();
    finish('a session');
    await vi.waitFor(() => expect(close).toHaveBeenCalledWith('a session'));
  });

  it('stays open where that was before', async () => {
    const close = vi.fn(async () => {});
    const stop = new AbortController();
    expect(await openUnlessAborted(stop.signal, async () => 'a session', close)).toBe('a session');
    stop.abort();
    expect(close).not.toHaveBeenCalled();
  });

  it('fails as it would without, and is not even begun by who has stopped', async () => {
    const close = vi.fn(async () => {});
    const fail = () => Promise.reject(new Error('no memory'));
    await expect(openUnlessAborted(new AbortController().signal, fail, close)).rejects.toThrow('no memory');
    const open = vi.fn(async () => 'a session');
    await expect(openUnlessAborted(AbortSignal.abort(), open, close)).rejects.toMatchObject({ code: 'interrupted' });
    expect(open).not.toHaveBeenCalled();
  });
});
