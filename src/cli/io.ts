/** What the command line is given instead of `process`. */
import type { Readable } from 'node:stream';
import type { HubOptions } from '../core/hub.ts';

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** 0 on a terminal that does not know its size. */
  readonly columns?: number;
}

export interface Io {
  /** Read where a prompt is `-`. */
  readonly stdin: Readable;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** False where a terminal is only a log of lines; true when absent. */
  readonly redraws?: boolean;
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** Folder of the native library, whether it is there or not; found by itself when absent. */
  readonly nativeFolder?: string;
  /** Where checkpoints come from that are given by name. */
  readonly hub?: HubOptions;
  /** The Python with Transformers that models are verified against; looked for when absent. */
  readonly python?: string;
}

/** `internal` is EX_SOFTWARE of sysexits.h: no check and no input of a user's is to blame. */
export const EXIT = { done: 0, checkFailed: 1, usage: 2, internal: 70, interrupted: 130 } as const;
