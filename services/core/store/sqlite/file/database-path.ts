import { type Stats, statfsSync, statSync } from 'node:fs'
import { mkdir, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { demandCommonTmp } from './private-tmp.ts'
import { demandSharedRights, unwritableFolder } from './shared-rights.ts'

/**
 * Where a database lies. Only stat calls look at it: opening and closing the file by the file system API would drop the
 * locks that SQLite holds on it in this process (sqlite.org/howtocorrupt.html, 2.2).
 */
export interface DatabasePath {
  /** With symbolic links resolved, so that all processes use the same -wal, -shm and doorbell of this file. */
  readonly path: string
  readonly folder: string
  /** The doorbell: one byte is written here after every commit, so that watchers hear of it at once. */
  readonly bell: string
  /** Beats and verdicts, which must not wake the watchers of the message database. */
  readonly liveness: string
}

/** Which file it is: another one under the same name is another database. */
export interface FileIdentity {
  readonly device: number
  readonly inode: number
  /** Milliseconds since 1970: a new file often gets the inode of the one that was just removed. */
  readonly bornAt: number
}

/** Null where there is no file, or none that this user may see. */
export function identify(path: string): FileIdentity | null {
  try {
    const stats: Stats | undefined = statSync(path, { throwIfNoEntry: false })
    return stats === undefined ? null : identityOf(stats)
  } catch {
    return null
  }
}

export function identityOf({ dev: device, ino: inode, birthtimeMs: bornAt }: Stats): FileIdentity {
  return { device, inode, bornAt }
}

export function isSameFile(one: FileIdentity | null, other: FileIdentity | null): boolean {
  return (
    one !== null &&
    other !== null &&
    one.device === other.device &&
    one.inode === other.inode &&
    one.bornAt === other.bornAt
  )
}

/** Bytes in the write-ahead log beside a database: what was committed and not checkpointed yet. */
export function logBytes(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
}

/** The path of a database that will be written: its folder is made where it is missing, and checked to be fit for SQLite. */
export async function makeDatabasePath(path: string): Promise<DatabasePath> {
  demandCommonTmp(resolve(path))
  const folder = dirname(resolve(path))
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw unwritableFolder(folder, error)
  })
  const databasePath = await databasePathOf(path)
  demandLocalDisk(databasePath)
  demandSharedRights(databasePath)
  return databasePath
}

/** The path as it is now; there may be no file. */
export async function databasePathOf(path: string): Promise<DatabasePath> {
  const given = resolve(path)
  const real = await realpath(given).catch(async () => {
    const folder = await realpath(dirname(given)).catch(() => dirname(given))
    return join(folder, basename(given))
  })
  return { path: real, folder: dirname(real), bell: `${real}-bell`, liveness: livenessBeside(real) }
}

/** `liveness.db` beside `bridge.db`; databases of other names that share a folder keep theirs apart. */
function livenessBeside(path: string): string {
  const name = basename(path)
  return join(dirname(path), name === 'bridge.db' ? 'liveness.db' : `${name.replace(/\.db$/, '')}-liveness.db`)
}

/** statfs(2) magic numbers of the file systems on which locks, shared memory and fsync keep what SQLite relies on. */
const LOCAL_DISKS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x01021994, 'tmpfs'],
  [0x794c7630, 'overlayfs'],
  [0x2fc12fc1, 'zfs'],
  [0xf2f52010, 'f2fs'],
])

/** Others that people meet, by name, for the message of the refusal. */
const OTHER_DISKS: ReadonlyMap<number, string> = new Map([
  [0x6969, 'nfs'],
  [0x01021997, '9p (a Windows drive in WSL, or a virtual machine’s share)'],
  [0x65735546, 'fuse'],
  [0xfe534d42, 'smb'],
  [0xff534d42, 'cifs'],
  [0x6a656a63, 'virtiofs'],
  [0x53464846, 'WSL 1'],
  [0x9fa0, 'proc'],
  [0x4d44, 'vfat'],
])

export function demandLocalDisk({ path, folder }: DatabasePath, typeOf: (folder: string) => number = diskType): void {
  const type = typeOf(folder)
  if (LOCAL_DISKS.has(type)) return
  const name = OTHER_DISKS.get(type) ?? `file system 0x${type.toString(16)}`
  throw new S2Error('invalid', `${path} lies on ${name}, where SQLite loses data when two processes share a database`, {
    next: `put it on a local disk (${[...LOCAL_DISKS.values()].join(', ')}), for example in ~/.local/state/s2`,
  })
}

function diskType(folder: string): number {
  return statfsSync(folder).type >>> 0
}
