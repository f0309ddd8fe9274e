/** Where models that are named (not given as a path) come from and go to. */

export interface HubOptions {
  /** For example https://huggingface.co, without a slash at the end. */
  readonly endpoint: string;
  /** Sent to the endpoint as a bearer token: for private and gated models. */
  readonly token?: string;
  /** Folder that downloads are kept in. */
  readonly cacheFolder: string;
  /** Delay before the first repeated attempt after a failure; it doubles for each further one (default 1000). */
  readonly retryDelayMs?: number;
  /** Time without progress after which a connection is given up and tried again (default 30,000). */
  readonly stallMs?: number;
}
