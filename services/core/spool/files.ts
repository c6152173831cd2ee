import { constants } from 'node:fs'
import { mkdir, open, readdir, rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'

/** The plain names of a folder, drafts of `publish` and other dotted names left out; empty when there is no folder. */
export async function names(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith('.')).sort()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/**
 * Reads a file that anybody may have put there: a plain file of at most `max` bytes, never through a link, never waiting
 * on a pipe. Null when there is none; throws `invalid` or `too_large` for anything else.
 */
export async function readPlain(path: string, max: number, forbiddenMode = 0): Promise<Buffer | null> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return null
    if (code === 'ELOOP') throw new S2Error('invalid', `${path} is a symbolic link`)
    throw new S2Error('invalid', `${path} cannot be read (${code})`, { cause: error })
  }
  try {
    const { size, mode } = await file.stat()
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw new S2Error('invalid', `${path} is no plain file`)
    if ((mode & forbiddenMode) !== 0) {
      throw new S2Error('invalid', `${path} may be read by others (mode ${(mode & 0o777).toString(8)})`, {
        next: `chmod 600 ${path}`,
      })
    }
    if (size > max) throw new S2Error('too_large', `${path} has ${size} bytes; ${max} are allowed`)
    const content = Buffer.alloc(size)
    const { bytesRead } = await file.read(content, 0, size, 0)
    return content.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** Reads a plain file as JSON; `invalid` when it is none. */
export async function readJson(path: string, max: number, forbiddenMode = 0): Promise<unknown> {
  const content = await readPlain(path, max, forbiddenMode)
  if (content === null) return null
  try {
    return JSON.parse(content.toString('utf8'))
  } catch {
    throw new S2Error('invalid', `${path} is not JSON${content.length === 0 ? ': it is empty' : ''}`)
  }
}

/** Moves what cannot be read into `bad/` beside its folder, where people find it and programs stumble no more. */
export async function setAside(path: string, spool: string): Promise<void> {
  const bad = join(spool, 'bad')
  await mkdir(bad, { recursive: true, mode: 0o700 })
  await rename(path, join(bad, basename(path))).catch(() => undefined)
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
