import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fchmodSync,
  lstatSync,
  mkdirSync,
  openSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { link, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ensureDurableFolder, syncFile, syncPath } from '#runtime/durable-folder.ts'

/**
 * Publishes a file whole: written beside its place under a name of its own, synced, renamed over, and the folder synced,
 * so that a reader sees the old or the new one and a crash leaves one of them (rename(2), fsync(2)). Throws what the
 * file system says; then nothing has changed and nothing half is left.
 */
export async function publish(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await ensureFolder(dirname(path))
  await publishInto(dirname(path), basename(path), content, mode)
}

/** The same in a folder that is there. */
export async function publishInto(
  folder: string,
  name: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const draft = join(folder, `.${name}.${process.pid}.${randomBytes(4).toString('hex')}`)
  await writeSynced(draft, content, mode)
  await renameOrRemove(draft, join(folder, name))
  await syncPath(folder)
}

/**
 * The same where nothing lies yet: of several that publish there at once, one does (link(2)). Answers whether it was this one;
 * where it was not, what lies there is whole.
 */
export async function publishOnce(path: string, content: string | Uint8Array, mode = 0o600): Promise<boolean> {
  const folder = dirname(path)
  await ensureFolder(folder)
  const draft = join(folder, `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}`)
  await writeSynced(draft, content, mode)
  try {
    await link(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await unlink(draft)
  }
  await syncPath(folder)
  return true
}

/** Creates a file and makes its content durable; its name is durable only after syncPath. */
export async function writeSynced(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await writeAllSynced([{ path, content }], mode)
}

/**
 * The same for many, all or none of them. What only moves memory is done at once, since a turn through the thread pool costs
 * more; what waits for the disk is waited for, several at a time, so that the file system can gather them.
 */
export async function writeAllSynced(
  files: readonly { readonly path: string; readonly content: string | Uint8Array }[],
  mode = 0o600,
): Promise<void> {
  for (let at = 0; at < files.length; at += SYNCED_AT_ONCE) {
    const some = files.slice(at, at + SYNCED_AT_ONCE)
    const written: { readonly path: string; readonly file: number }[] = []
    try {
      for (const { path, content } of some) written.push({ path, file: openWritten(path, content, mode) })
      await Promise.all(written.map(({ file }) => syncFile(file)))
    } catch (error) {
      for (const { path } of [...files.slice(0, at), ...written]) tryUnlink(path)
      throw error
    } finally {
      for (const { file } of written) closeSync(file)
    }
  }
}

const SYNCED_AT_ONCE = 8

/** Creates a file whose content need not survive a loss of power. */
export function writeUnsynced(path: string, content: string, mode = 0o600): void {
  closeSync(openWritten(path, content, mode))
}

/** A file with its content, open; gone again where that fails. */
function openWritten(path: string, content: string | Uint8Array, mode: number): number {
  const file = openSync(path, 'wx', mode)
  try {
    writeFileSync(file, content)
    fchmodSync(file, isShared(dirname(path)) ? mode | GROUP_READS : mode)
    return file
  } catch (error) {
    closeSync(file)
    tryUnlink(path)
    throw error
  }
}

function tryUnlink(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // whoever failed says why; that this is left is the lesser evil
  }
}

/** Moves a draft to its place; where that fails, the draft goes. */
export async function renameOrRemove(draft: string, path: string): Promise<void> {
  try {
    await rename(draft, path)
  } catch (error) {
    await unlink(draft).catch(() => undefined)
    throw error
  }
}

/** As ensureDurableFolder; in a folder that is shared with an agent's group it is shared as well. */
export async function ensureFolder(folder: string): Promise<void> {
  await ensureDurableFolder(folder, isShared(dirname(folder)) ? makeShared : undefined)
}

/**
 * Whether a folder is shared with the group of an agent that has a user of its own: whoever laid it out gave it the set-group-ID
 * bit (inode(7)), which hands its group on. What we make in it is readable for that group, and folders are writable like it.
 */
export function isShared(folder: string): boolean {
  return ((statOf(folder)?.mode ?? 0) & SET_GROUP_ID) !== 0
}

const SET_GROUP_ID = 0o2000
const GROUP_READS = 0o040
const GROUP = 0o070

/**
 * Answers the folder where it was missing. The system hands the set-group-ID bit on; chmod(2) for it is what the sandbox of a
 * unit forbids.
 */
function makeShared(folder: string): string | undefined {
  if (statOf(folder)?.isDirectory() === true) return undefined
  const before = process.umask(0o007)
  try {
    mkdirSync(folder, 0o700 | ((statOf(dirname(folder))?.mode ?? 0) & GROUP))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    process.umask(before)
  }
  return folder
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined // whoever uses it says what is wrong
  }
}

/** Changes when a name in the folder comes or goes, by the grain of the file system's clock; costs microseconds. */
export function folderVersion(folder: string): string {
  const stat = lstatSync(folder, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? 'none' : `${stat.ino}-${stat.mtimeNs}`
}
