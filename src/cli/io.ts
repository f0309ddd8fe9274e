/** What the command line gets instead of `process`. */
import type { Readable } from 'node:stream';
import type { HubOptions } from '../core/hub.ts';

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** 0 on a terminal that does not know its width. */
  readonly columns?: number;
}

export interface Io {
  /** Read for the prompt `-`, and by the wizard, which wants a terminal. */
  readonly stdin: Readable & {
    readonly isTTY?: boolean;
    readonly fd?: number;
    setRawMode?: (mode: boolean) => unknown;
  };
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** False for a terminal that only shows a log of lines. The default is true. */
  readonly redraws?: boolean;
  /** Whether the terminal shows more than ASCII. The default is false. */
  readonly hasUnicode?: boolean;
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** Folder of the native library, whether it exists or not. If absent, Lacuna looks for it. */
  readonly nativeFolder?: string;
  /** Where checkpoints that are given by name come from. */
  readonly hub?: HubOptions;
  /** The Python with Transformers for verification. If absent, Lacuna looks for one. */
  readonly python?: string;
}

/** `internal` is EX_SOFTWARE of sysexits.h: the fault is ours, not a check's or the user's. */
export const EXIT = { done: 0, checkFailed: 1, usage: 2, internal: 70, interrupted: 130 } as const;
