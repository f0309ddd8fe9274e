/** How models on the Hub are named: `owner/name`, with a revision, and with the choice among several GGUF files. */

export interface HubReference {
  /** `owner/name`. */
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** Part of the name of a GGUF file, for example `Q4_K_M`. */
  readonly gguf: string | undefined;
}

const NAME = '[A-Za-z0-9][A-Za-z0-9._-]*';
const REFERENCE = new RegExp(`^(${NAME}/${NAME})(?:@([\\w./-]+))?(?::([\\w.-]+))?$`);

/** The parts of `owner/name[@revision][:gguf]`; undefined if `text` has another form. */
export function parseHubReference(text: string): HubReference | undefined {
  const match = REFERENCE.exec(text);
  if (match === null) return undefined;
  const [, id, revision = 'main', gguf] = match;
  // Names become folders of the cache and parts of addresses.
  return [...id.split('/'), ...revision.split('/')].some((part) => part === '' || /^\.+$/.test(part))
    ? undefined
    : { id, revision, gguf };
}
