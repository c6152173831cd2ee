import { readFileSync } from 'node:fs'
import { type CleanedEnv, cleanEnv, makeValidator } from 'envalid'
import { decodeText, hasByteOrderMark } from './read-user-file.ts'
import { SETTINGS, type Setting, type SettingName, type SettingValue } from './settings.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** All wrong settings at once. Ends a program with exit code 78 (EX_CONFIG). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(`wrong settings:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

/** A setting that a program cannot do without is not set: nothing is wrong with those that are. */
export class MissingSetting extends ConfigError {}

export type ReadSettings<N extends SettingName> = { readonly [K in N]: SettingValue<K> }

/**
 * Reads the named settings from an environment into a frozen value. Other names that begin with `S2_` are refused, so that a
 * misspelt setting never passes for a default. Throws ConfigError.
 */
export function readSettings<const N extends SettingName>(env: Env, names: readonly N[]): ReadSettings<N> {
  const faults = unknownNames(env)
  const specs: Record<string, ReturnType<ReturnType<typeof makeValidator>>> = {}
  const given: Record<string, string> = {}
  for (const name of names) {
    const setting: Setting = SETTINGS[name]
    const text = env[name] ?? setting.fallback
    if (text === undefined) continue
    given[name] = text
    specs[name] = makeValidator((value) => setting.parse(value))({ desc: setting.about, example: setting.example })
  }
  let values: CleanedEnv<typeof specs> | undefined
  try {
    values = cleanEnv(given, specs, {
      reporter: ({ errors }) => {
        for (const [name, error] of Object.entries(errors))
          faults.push(fault(name as SettingName, given[name] ?? '', error))
      },
    })
  } catch (error) {
    throw new ConfigError([String(error)])
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return Object.freeze(
    Object.fromEntries(names.map((name) => [name, name in given ? values[name] : undefined])),
  ) as unknown as ReadSettings<N>
}

/** The value of a required setting without a fallback. Throws MissingSetting where it is missing. */
export function demand<N extends SettingName>(
  name: N,
  value: SettingValue<N>,
  why: string,
): NonNullable<SettingValue<N>> {
  if (value === undefined || value === null) {
    throw new MissingSetting([`${name} is missing: ${why}, for example ${name}=${SETTINGS[name].example}`])
  }
  return value
}

/** A settings file (`NAME=value` lines, `#` comments, as EnvironmentFile= of systemd) under an environment, which wins. */
export function withSettingsFile(env: Env, path: string): Env {
  return { ...parseSettings(decodeSettings(readFileSync(path), path), path), ...env }
}

/** The text of a settings file, which systemd reads too; `name` is its name in errors. Throws ConfigError. */
export function decodeSettings(bytes: Uint8Array, name: string): string {
  if (hasByteOrderMark(bytes)) {
    const mend = `sed -i '1s/^\\xEF\\xBB\\xBF//' ${name}`
    throw new ConfigError([
      `${name} begins with a byte order mark, which systemd takes for a part of the first name: ${mend}`,
    ])
  }
  try {
    return decodeText(bytes)
  } catch (error) {
    throw new ConfigError([`${name} ${(error as Error).message}`])
  }
}

/** The values of a settings file; `name` is its name in errors. Throws ConfigError. */
export function parseSettings(text: string, name: string): Record<string, string> {
  const file: Record<string, string> = {}
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*([#;].*)?$/.test(line)) continue
    const match = /^\s*([A-Za-z_]\w*)=(.*?)\s*$/.exec(line)
    if (match === null) throw new ConfigError([`${name}:${index + 1}: not a line of the form NAME=value`])
    file[match[1] ?? ''] = (match[2] ?? '').replace(/^(["'])(.*)\1$/, '$2')
  }
  return file
}

function fault(name: SettingName, value: string, error: Error | undefined): string {
  const setting: Setting = SETTINGS[name]
  const shown = setting.secret === true ? '…' : JSON.stringify(withoutPassword(value))
  return `${name}=${shown} ${error?.message ?? 'is wrong'}; for example ${name}=${setting.example}`
}

/** An address without its password or token, for an error. */
function withoutPassword(value: string): string {
  return value.replace(/(:\/\/[^\s/:]*:)[^/\s]*@/g, '$1…@').replace(/(https?:\/\/)[^\s/@:]{20,}@/gi, '$1…@')
}

/** One fault for each unknown `S2_` name; `S2_TASK_…` names are set for the commands of agents. */
function unknownNames(env: Env): string[] {
  const known = Object.keys(SETTINGS)
  return Object.keys(env)
    .filter((name) => /^\ufeff?S2_/.test(name) && !name.startsWith('S2_TASK_') && !known.includes(name))
    .map((name) => {
      if (name.startsWith('\ufeff'))
        return `${name.slice(1)} is lost: its file begins with a byte order mark, which must go`
      const successor = RETIRED.get(name)
      if (successor !== undefined) return `${name} is a setting no more: ${successor} takes its place`
      const near = closest(name, known)
      return `${name} is not a setting${near === undefined ? '' : `; did you mean ${near}?`}`
    })
}

/** Settings that there were, and what takes their place. */
const RETIRED: ReadonlyMap<string, string> = new Map([['S2_MOVES_MAX', 'S2_ATTEMPTS_MAX']])

/** The nearest of some words, at most a third of the length away. */
export function closest(word: string, words: readonly string[]): string | undefined {
  const ranked = words.map((each) => ({ each, steps: editDistance(word, each) })).sort((x, y) => x.steps - y.steps)
  const best = ranked[0]
  return best !== undefined && best.steps <= Math.max(2, word.length / 3) ? best.each : undefined
}

/** Levenshtein's distance, one row at a time. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= to.length; j += 1) {
      const swap = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
