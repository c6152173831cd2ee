import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'

/**
 * Publishes a file whole: written beside its place under a name of its own, synced, renamed over, and the folder synced,
 * so that a reader sees the old or the new one and a crash leaves one of them (rename(2), fsync(2)). Throws
 * `unavailable` when the disk is full or not to be written.
 */
export async function publish(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  await publishAll(dirname(path), [{ name: basename(path), content }], mode)
}

/** Publishes several files of one folder, with one sync of the folder for all. */
export async function publishAll(
  folder: string,
  files: readonly { readonly name: string; readonly content: string | Uint8Array }[],
  mode = 0o600,
): Promise<void> {
  const drafts: string[] = []
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const { name, content } of files) drafts.push(await draft(folder, name, content, mode))
    for (const [index, { name }] of files.entries()) await rename(drafts[index] ?? '', join(folder, name))
    await syncFolder(folder)
  } catch (error) {
    for (const left of drafts) await unlink(left).catch(() => undefined)
    throw diskError(error as NodeJS.ErrnoException, folder)
  }
}

async function draft(folder: string, name: string, content: string | Uint8Array, mode: number): Promise<string> {
  const path = join(folder, `.${name}.${process.pid}.${randomBytes(4).toString('hex')}`)
  try {
    await using file: FileHandle = await open(path, 'wx', mode)
    await file.writeFile(content)
    await file.chmod(mode)
    await file.sync()
  } catch (error) {
    await unlink(path).catch(() => undefined)
    throw error
  }
  return path
}

/** Makes the folder's entries (new, renamed, removed names) durable. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.sync()
}

const MENDS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: make room; nothing is lost, it goes on by itself',
  EDQUOT: 'the quota is used up: make room; nothing is lost, it goes on by itself',
  EROFS: 'the file system is read-only: choose a state folder that can be written',
  EACCES: 'the folder may not be written by this user: change its owner or mode',
  EPERM: 'the folder may not be written by this user: change its owner or mode',
  ENOTDIR: 'something on the way is no folder: move it away',
}

function diskError(error: NodeJS.ErrnoException, folder: string): Error {
  const next = MENDS[error.code ?? '']
  return next === undefined
    ? error
    : new S2Error('unavailable', `cannot write in ${folder} (${error.code})`, { next, cause: error })
}
