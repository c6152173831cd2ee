import { createHash } from 'node:crypto'

/** Leaves room for the endings and the drafts of a name, of which file systems take 255 bytes. */
const LENGTH_MAX = 200
const PART = /^\w[\w.:]*$/
const LAST_PART = /^[\w.:-]+$/

/**
 * The name of a file for what some ids tell apart together, in a folder where each name is made of as many. It is `first-second` where
 * that can be read in one way alone. Clients and programs of others choose ids: for any text else it is a digest, so that
 * no name leaves its folder or is too long, and no two lists of ids have the same one.
 */
export function nameOfFile(first: string, ...more: readonly string[]): string {
  const ids = [first, ...more]
  const name = ids.join('-')
  const isPlain = ids.every((id, at) => (at === ids.length - 1 && at > 0 ? LAST_PART : PART).test(id))
  if (isPlain && name.length <= LENGTH_MAX) return name
  return `~${createHash('sha256').update(JSON.stringify(ids)).digest('hex')}`
}
