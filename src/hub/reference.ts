/** How models on the Hub are named: `owner/name`, with a revision and, where there are several GGUF files, which one. */

export interface HubReference {
  /** `owner/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** Part of the name of a GGUF file, as `Q4_K_M`. */
  readonly gguf: string | undefined;
}

const NAME = '[A-Za-z0-9][A-Za-z0-9._-]*';
const REFERENCE = new RegExp(`^(${NAME}/${NAME})(?:@([\\w./-]+))?(?::([\\w.-]+))?$`);

/** `owner/name[@revision][:gguf]` in parts; undefined when `text` is nothing of the kind. */
export function parseHubReference(text: string): HubReference | undefined {
  const match = REFERENCE.exec(text);
  if (match === null) return undefined;
  const [, id, revision = 'main', gguf] = match;
  // Names become folders of the cache and parts of addresses.
  return [...id.split('/'), ...revision.split('/')].some((part) => part === '' || /^\.+$/.test(part))
    ? undefined
    : { id, revision, gguf };
}
