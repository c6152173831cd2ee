import { renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import { roomIn } from '../file/disk-room.ts'
import { copyDatabase } from './copy-database.ts'

/** Where the database lies as an earlier version of S2 left it. There is one of each schema: a later one takes its place. */
export function earlierPath(path: string, schema: number): string {
  return `${path}.schema-${schema}`
}

/**
 * Copies the database beside itself, for the version of S2 that it has to be given back to: that version refuses what a later
 * one has changed. The caller holds the write lock, so nothing is committed between the copy and the change. Throws `S2Error`.
 */
export async function keepEarlier(
  path: string,
  schema: number,
  { clock, chance }: { readonly clock: Clock; readonly chance: Chance },
): Promise<string> {
  const kept = earlierPath(path, schema)
  const draft = `${kept}.draft`
  try {
    rmSync(draft, { force: true }) // of one who was ended while it copied: nobody else copies now
    await copyDatabase(path, draft, { clock, chance, roomIn })
    await syncPath(draft)
    renameSync(draft, kept)
    await syncPath(dirname(kept))
    return kept
  } catch (error) {
    if (error instanceof S2Error) throw error
    throw new S2Error('unavailable', `${path} cannot be copied to ${kept} before its tables change`, {
      next: 'move away what is in the way there; the database is as it was',
      cause: error,
    })
  } finally {
    for (const left of [draft, `${draft}-journal`]) rmSync(left, { force: true })
  }
}
