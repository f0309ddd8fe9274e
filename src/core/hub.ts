/** Where models that are named, not given as a path, come from and go to. */
import * as z from 'zod';
import { optionsOf, path } from './options.ts';

export const hubOptions = optionsOf(
  {
    /** As https://huggingface.co, without a slash at the end. */
    endpoint: z.string().min(1),
    /** Folder that downloads are kept in. */
    cacheFolder: path,
  },
  {
    /** Sent to the endpoint as a bearer token: for private and gated models. */
    token: z.string(),
    /** Before the first repeated attempt after a failure; doubled for each further one (default 1000). */
    retryDelayMs: z.number().min(0),
    /** Time without progress after which a connection is given up and tried again (default 30,000). */
    stallMs: z.number().gt(0),
  },
);

export interface HubOptions extends z.infer<typeof hubOptions> {}
