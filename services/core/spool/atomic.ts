import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Publishes a file whole: written beside its place under a name of its own, synced, renamed over, and the folder synced,
 * so that a reader sees the old or the new one and a crash leaves one of them (rename(2), fsync(2)).
 */
export async function publish(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const draft = join(folder, `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}`)
  try {
    await using file: FileHandle = await open(draft, 'wx', mode)
    await file.writeFile(content)
    await file.chmod(mode)
    await file.sync()
  } catch (error) {
    await unlink(draft).catch(() => undefined)
    throw error
  }
  await rename(draft, path)
  await syncFolder(folder)
}

/** Makes the folder's entries (new, renamed, removed names) durable. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.sync()
}
