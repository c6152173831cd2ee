import { readFileSync } from 'node:fs'
import { type CleanedEnv, cleanEnv, makeValidator } from 'envalid'
import { SETTINGS, type Setting, type SettingName, type SettingValue } from './settings.ts'

export type Env = Readonly<Record<string, string | undefined>>

/** Wrong settings, all of them at once. Ends a program with exit code 78 (EX_CONFIG). */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly faults: readonly string[]

  constructor(faults: readonly string[]) {
    super(`wrong settings:\n${faults.map((fault) => `  ${fault}`).join('\n')}`)
    this.faults = faults
  }
}

export type ReadSettings<N extends SettingName> = { readonly [K in N]: SettingValue<K> }

/**
 * Reads the named settings from an environment, once, into a frozen value. Names that begin with `S2_` and are no
 * settings are refused, so that a slip of the pen never passes for a default.
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

/** Throws unless a setting that has no fallback was given. */
export function demand<N extends SettingName>(
  name: N,
  value: SettingValue<N>,
  why: string,
): NonNullable<SettingValue<N>> {
  if (value === undefined || value === null) {
    throw new ConfigError([`${name} is missing: ${why}, for example ${name}=${SETTINGS[name].example}`])
  }
  return value
}

/** An environment over the lines of a settings file (`NAME=value`, `#` comments), as systemd's EnvironmentFile reads it. */
export function withSettingsFile(env: Env, path: string): Env {
  return { ...parseSettings(readFileSync(path, 'utf8'), path), ...env }
}

/** The values of a settings file; `name` is what a wrong line is said to be in. */
export function parseSettings(text: string, name: string): Record<string, string> {
  const file: Record<string, string> = {}
  for (const [index, line] of text.split('\n').entries()) {
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

/** An address as it may be shown: the one that is refused for its password, or its token, is shown without it. */
function withoutPassword(value: string): string {
  return value.replace(/(:\/\/[^\s/:]*:)[^/\s]*@/g, '$1…@').replace(/(https?:\/\/)[^\s/@:]{20,}@/gi, '$1…@')
}

/** One fault for each `S2_` name that is no setting; `S2_TASK_…` belongs to the commands that agents run. */
function unknownNames(env: Env): string[] {
  const known = Object.keys(SETTINGS)
  return Object.keys(env)
    .filter((name) => name.startsWith('S2_') && !name.startsWith('S2_TASK_') && !known.includes(name))
    .map((name) => {
      const near = closest(name, known)
      return `${name} is not a setting${near === undefined ? '' : `; did you mean ${near}?`}`
    })
}

/** The nearest of some words, where one lies within a third of the length. */
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
