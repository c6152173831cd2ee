import { type Stats, statSync } from 'node:fs'
import { isOurs } from './client-environment.ts'

/** Why a path is no socket that this user's programs listen on; null where it is one. A socket of others is never spoken to. */
export function whyNoOwnSocket(path: string): string | null {
  let stat: Stats | undefined
  try {
    stat = statSync(path, { throwIfNoEntry: false })
  } catch {
    return `${path} cannot be looked at`
  }
  if (stat === undefined) return `${path} is not there`
  if (!stat.isSocket()) return `${path} is no socket`
  return isOurs(stat.uid) ? null : `${path} belongs to another user`
}
