/** How long jobs report and stop. Stages say what they do, and the command line decides how it looks. */

export interface ProgressStage {
  /** `count` more units are done. */
  advance(count: number): void;
  /** The stage ended; `note` replaces the running figures. */
  done(note?: string): void;
}

export interface Progress {
  /** Starts a stage of `total` units ("bytes", "tokens", "layers"). */
  stage(label: string, total: number, unit: string): ProgressStage;
  /** One line that remains. */
  note(text: string): void;
}

export const SILENT: Progress = {
  stage: () => ({ advance: () => {}, done: () => {} }),
  note: () => {},
};

export interface JobOptions {
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
  /** Intra-op threads of ONNX Runtime, 1 to 256. If absent, it chooses. Results are reproducible at a fixed number. */
  readonly threads?: number;
}
