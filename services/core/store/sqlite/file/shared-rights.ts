import { accessSync, closeSync, constants, openSync, readFileSync, readSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { isReadOnly, readOnlyDisk } from './read-only-disk.ts'

/** What SQLite keeps beside a database that is open. */
const BESIDE = ['-wal', '-shm'] as const
const READ_WRITE = constants.R_OK | constants.W_OK

/** A database and the folder that it lies in. */
interface Place {
  readonly path: string
  readonly folder: string
}

/** The user of this process, and what the kernel holds against files of others in folders like /tmp. */
export interface Opener {
  readonly uid: number
  readonly gid: number
  /** All groups it belongs to. */
  readonly groups: readonly number[]
  /** The value of fs.protected_regular, proc_sys_fs(5). */
  readonly protectedRegular: number
}

/**
 * Refuses a database that this user and its owner cannot both write. SQLite would open what may only be read, and make a -wal
 * and a -shm that belong to this user: from then on the owner's own programs find their database read-only, until somebody
 * removes these two. Nothing is refused where no file is yet. Throws `forbidden`, or `invalid` for what is no file.
 */
export function demandSharedRights(place: Place, opener = thisOpener()): void {
  const { path, folder } = place
  const directory = statOf(folder, folder)
  if (directory === undefined) return
  demandAccess(folder, READ_WRITE | constants.X_OK, (error) => unwritableFolder(folder, error))
  const database = statOf(path, folder)
  if (database === undefined) return
  if (!database.isFile()) throw new S2Error('invalid', `${path} is not a file`, { next: 'name a file' })
  for (const file of [path, ...BESIDE.map((suffix) => path + suffix)]) {
    const stats = statOf(file, folder)
    if (stats === undefined) continue
    if (isProtected(stats, directory, opener)) throw protectedFile(file, folder, stats.uid)
    demandAccess(file, READ_WRITE, (error) => unwritableFile(file, stats, { place, opener, error }))
  }
  if (!letsOwnerWrite(database, directory, opener)) throw lockedOutOwner(place, database.uid, opener.uid)
}

/** The same for a file that may be a backup, which has no log: what may only be read is refused where it is a live database. */
export function demandNoTrace(place: Place): void {
  try {
    accessSync(place.path, READ_WRITE)
  } catch {
    if (hasLog(place.path)) demandSharedRights(place)
  }
}

/**
 * The mode of a database that is made in a folder, chmod(2); its -wal, -shm, doorbell and beats take after it. It holds tokens,
 * so it is its owner's alone, unless the folder is one that a group writes to and whose files are that group's.
 */
export function newFileMode(folder: string): number {
  return (statSync(folder).mode & GROUP_FOLDER) === GROUP_FOLDER ? 0o660 : 0o600
}

/** The mode of a folder that a group shares: set-group-ID, and the group may write. */
const GROUP_FOLDER = 0o2020

/**
 * The mode of what S2 makes beside a database of this mode: its owner's and its group's. Others get no right to read, save where
 * they are let write the database too, and so are among those who share it.
 */
export function modeBeside(mode: number): number {
  return mode & ((mode & OTHERS) === OTHERS ? 0o666 : 0o660)
}

/** Others may read and write. */
const OTHERS = 0o006

/** Whether everybody on this host may read a file, and enter all the folders above it. */
export function isOpenToAll(path: string): boolean {
  if ((modeOf(path) & 0o004) === 0) return false
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if ((modeOf(folder) & 0o001) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

/** No right at all where there is no file, or none that this user may see. */
function modeOf(path: string): number {
  try {
    return statSync(path).mode
  } catch {
    return 0
  }
}

/** The refusal of a folder in which SQLite could not keep its files. */
export function unwritableFolder(folder: string, cause: unknown): S2Error {
  if (isReadOnly(cause)) return readOnlyDisk(folder, cause)
  return new S2Error('forbidden', `the folder ${folder} cannot be written by this user`, {
    next: `SQLite keeps -wal and -shm files beside its database: choose a folder of your own, chown this one, or share it by a group; ${HOW}`,
    cause,
  })
}

const HOW = 'see docs/operate.md, Beside the Python bridge'

function statOf(path: string, folder: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    throw unwritableFolder(folder, error)
  }
}

function demandAccess(path: string, mode: number, refusal: (error: unknown) => S2Error): void {
  try {
    accessSync(path, mode)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw refusal(error)
  }
}

/** Whether the kernel refuses O_CREAT on this file, with which SQLite opens its files, whatever the modes say. */
function isProtected(file: Stats, directory: Stats, { uid, protectedRegular }: Opener): boolean {
  if (file.uid === uid || file.uid === directory.uid || (directory.mode & STICKY) === 0) return false
  return protectedRegular >= 1 && (directory.mode & (protectedRegular >= 2 ? 0o022 : 0o002)) !== 0
}

const STICKY = 0o1000

/** Whether the database's owner may write what SQLite makes beside it for this user: files of the same mode. */
function letsOwnerWrite(database: Stats, directory: Stats, { uid, gid, groups }: Opener): boolean {
  if (uid === 0 || database.uid === uid) return true // for root SQLite gives them to the owner
  if ((database.mode & OTHERS) === OTHERS) return true
  if (!groups.includes(database.gid)) return true // an access list lets this user in, and may well do so for the owner
  return database.gid === ((directory.mode & SET_GROUP_ID) === 0 ? gid : directory.gid)
}

/** Files that are made in a folder with this bit belong to the folder's group, not to their maker's. */
const SET_GROUP_ID = 0o2000

function unwritableFile(
  file: string,
  { uid, mode }: Stats,
  { place, opener, error }: { readonly place: Place; readonly opener: Opener; readonly error: unknown },
): S2Error {
  if (isReadOnly(error)) return readOnlyDisk(file, error)
  if (uid === opener.uid) {
    const whose = `its owner, ${nameOf(uid)} (mode ${(mode & 0o777).toString(8)})`
    const next = `chmod u+rw ${file}`
    return new S2Error('forbidden', `the database ${file} may not be written by ${whose}`, { next, cause: error })
  }
  const whose = `belongs to ${nameOf(uid)} and may not be written by ${nameOf(opener.uid)}`
  return new S2Error('forbidden', `the database ${file} ${whose}`, { next: byGroup(place), cause: error })
}

function lockedOutOwner(place: Place, owner: number, user: number): S2Error {
  const [whose, ours] = [nameOf(owner), nameOf(user)]
  const message = `what ${ours} makes beside the database ${place.path} could not be written by its owner, ${whose}`
  return new S2Error('forbidden', message, { next: byGroup(place) })
}

function protectedFile(file: string, folder: string, owner: number): S2Error {
  const why = `in ${folder} the kernel lets users share no files (fs.protected_regular)`
  return new S2Error('forbidden', `the database ${file} belongs to ${nameOf(owner)}, and ${why}`, {
    next: `stop what uses it and move it with its -wal to a folder that a group shares, such as /srv/bridge; ${HOW}`,
  })
}

function byGroup({ path, folder }: Place): string {
  return `share it by a group of both: chgrp GROUP ${folder} ${path}*; chmod 2770 ${folder}; chmod 660 ${path}*; ${HOW}`
}

/** Whether a file is a database with a write-ahead log, by its header (sqlite.org/fileformat.html, 1.3.3). */
function hasLog(path: string): boolean {
  const header = Buffer.alloc(20)
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    readSync(file, header)
  } catch {
    return false // SQLite says what is wrong with it
  } finally {
    if (file !== undefined) closeSync(file)
  }
  return header.subarray(18).includes(2)
}

function thisOpener(): Opener {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0]
  const protectedRegular = Number(readIfThere('/proc/sys/fs/protected_regular')) // 0 for kernels before 4.19
  return { uid, gid, groups: [gid, ...(process.getgroups?.() ?? [])], protectedRegular }
}

/** A user by name, or by number where this machine has no name for it. */
function nameOf(uid: number): string {
  if (uid === UNMAPPED) return 'another user'
  const line = readIfThere('/etc/passwd')
    .split('\n')
    .find((entry) => entry.split(':')[2] === String(uid))
  return `user ${line?.split(':')[0] ?? uid}`
}

/** Every user that has no number in the namespace of this process, as in a service with PrivateUsers=, user_namespaces(7). */
const UNMAPPED = 65_534

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
