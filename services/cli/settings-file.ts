import { ConfigError, parseSettings } from '#runtime/config.ts'

/** The value that a settings file gives a name; undefined where no line does. */
export function settingIn(text: string, name: string): string | undefined {
  return parseSettings(text, 'it')[name]
}

/**
 * A settings file with these values: lines that set them are written anew where they stand, what is missing is put at the
 * end, and all else stays as it is.
 */
export function withSettings(text: string, settings: Readonly<Record<string, string>>): string {
  const lines = text === '' ? [] : text.replace(/\n$/, '').split('\n')
  for (const [name, value] of Object.entries(settings)) {
    const at = lines.findLastIndex((line) => line.trimStart().startsWith(`${name}=`))
    if (at === -1) lines.push(written(name, value))
    else if (settingIn(lines[at] ?? '', name) !== value) lines[at] = written(name, value)
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

/** A line that systemd's EnvironmentFile= and we read alike: it takes backslashes and a quote in front for its own. */
function written(name: string, value: string): string {
  const isPlain = !/[\\\n]|^["'\s]|\s$/.test(value)
  if (isPlain) return `${name}=${value}`
  if (!/['\n]/.test(value)) return `${name}='${value}'`
  throw new ConfigError([
    `${name} cannot be written on one line that all read alike: put it into a script, and name that`,
  ])
}
