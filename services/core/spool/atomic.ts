import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Publishes a file whole: written beside its place under a name of its own, synced, renamed over, and the folder synced,
 * so that a reader sees the old or the new one and a crash leaves one of them (rename(2), fsync(2)). Throws what the
 * file system says; then nothing has changed and nothing half is left.
 */
export async function publish(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const folder = dirname(path)
  await ensureFolder(folder)
  const draft = join(folder, `.${basename(path)}.${process.pid}.${randomBytes(4).toString('hex')}`)
  await writeSynced(draft, content, mode)
  await renameOrRemove(draft, path)
  await syncFolder(folder)
}

/** Creates a file and makes its content durable; its name is durable only after syncFolder. */
export async function writeSynced(path: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const file = await open(path, 'wx', mode)
  try {
    await file.writeFile(content)
    await file.chmod(mode)
    await file.sync()
    await file.close()
  } catch (error) {
    await file.close().catch(() => undefined)
    await unlink(path).catch(() => undefined)
    throw error
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

/** Makes the folder's entries (new, renamed, removed names) durable. */
export async function syncFolder(folder: string): Promise<void> {
  await using handle = await open(folder, 'r')
  await handle.sync()
}

/** Makes a folder with all above it that are missing, readable by its owner alone, and their names durable. */
export async function ensureFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made))
}
