import { chown, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { ConfigError, decodeSettings, parseSettings } from '#runtime/read-settings.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { publish } from '#spool/atomic-files.ts'
import { settingIn, withSettings } from '../settings-file.ts'

export type SettingValues = Readonly<Partial<Record<SettingName, string>>>

/** A settings file as it is to be written. */
export interface SettingsDraft {
  readonly path: string
  /** The settings that it must hold. */
  readonly settings: SettingValues
  readonly text: string
  readonly isChanged: boolean
}

/** The values of a settings file; none where the file is missing. Throws `ConfigError`. */
export async function readSettingsFile(folder: string, name: string): Promise<Record<string, string>> {
  const path = join(folder, name)
  return parseSettings(await textOf(path), path)
}

/** Drafts of the files with these settings. Throws `conflict` where another value is set and may not be changed. */
export async function draftSettings(
  folder: string,
  files: ReadonlyMap<string, SettingValues>,
  isForced: boolean,
): Promise<SettingsDraft[]> {
  return await Promise.all([...files].map(([name, settings]) => draft(join(folder, name), settings, isForced)))
}

async function draft(path: string, settings: SettingValues, isForced: boolean): Promise<SettingsDraft> {
  const before = await textOf(path)
  const wrong = Object.entries(settings).filter(
    ([name, value]) => !isSame(name as SettingName, settingIn(before, name), value),
  )
  const set = wrong.filter(([name]) => settingIn(before, name) !== undefined)
  if (set.length > 0 && !isForced) {
    const others = set.map(([name]) => `${name} is ${JSON.stringify(settingIn(before, name))}`)
    throw new S2Error('conflict', `nothing was written: in ${path} ${others.join(' and ')}`, {
      next: 'add --force to change it, or edit the file',
    })
  }
  const text = withSettings(before, Object.fromEntries(wrong))
  return { path, settings, text, isChanged: text !== before }
}

/** Whether two values of a setting mean the same: 03 is 3. */
function isSame(name: SettingName, one: string | undefined, other: string): boolean {
  if (one === undefined || one === other) return one === other
  try {
    return JSON.stringify(SETTINGS[name].parse(one)) === JSON.stringify(SETTINGS[name].parse(other))
  } catch {
    return false
  }
}

/** Writes a file that the group of the services can read, and the folder's owner alone can write. */
export async function writeDraft({ path, text }: SettingsDraft, folder: string): Promise<void> {
  try {
    await publish(path, text, 0o640)
    const { uid, gid } = await stat(folder)
    await chown(path, uid, gid)
  } catch (error) {
    throw cannot('written', path, error as NodeJS.ErrnoException)
  }
}

async function textOf(path: string): Promise<string> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw cannot('read', path, error)
  })
  return decodeSettings(bytes, path)
}

function cannot(what: 'read' | 'written', path: string, error: NodeJS.ErrnoException): ConfigError {
  const mend = error.code === 'EACCES' || error.code === 'EPERM' ? 'use sudo for the whole host' : error.message
  return new ConfigError([`${path} cannot be ${what}: ${mend}`])
}
