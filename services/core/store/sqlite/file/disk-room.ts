import { statfsSync } from 'node:fs'
import { S2Error } from '#fleet/errors.ts'

/** Bytes left free: a copy that fills the disk stops the bridge, which often writes to the same one. */
const SPARE_BYTES = 16 * 1024 * 1024

/** A copy that is to be made. */
export interface CopyOrder {
  readonly original: string
  readonly bytes: number
  readonly folder: string
  /** The setting that names the folder. */
  readonly setting: 'S2_BACKUPS' | 'S2_STATE'
}

/** Bytes that may still be written into a folder. */
export function roomIn(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

/** Refuses a copy for which there is no room. */
export function demandRoom({ original, bytes, folder, setting }: CopyOrder, room: number): void {
  if (bytes + SPARE_BYTES <= room) return
  const [wanted, found] = [bytes + SPARE_BYTES, room].map((each) => `${Math.ceil(each / 1_000_000)} MB`)
  throw new S2Error('unavailable', `a copy of ${original} wants ${wanted} free in ${folder}, where ${found} are`, {
    next: nextDisk(setting),
  })
}

/** The refusal where the disk was full in spite of that. */
export function fullByCopy({ folder, setting }: Pick<CopyOrder, 'folder' | 'setting'>, cause: unknown): S2Error {
  return new S2Error('unavailable', `the disk that holds ${folder} is full`, { next: nextDisk(setting), cause })
}

function nextDisk(setting: CopyOrder['setting']): string {
  return `make room there, or name a folder on another disk (${setting}); nothing was changed`
}
