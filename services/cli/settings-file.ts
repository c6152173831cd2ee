import { ConfigError, parseSettings } from '#runtime/read-settings.ts'

/** The value of a setting in a settings file; undefined where no line sets it. */
export function settingIn(text: string, name: string): string | undefined {
  return parseSettings(text, 'it')[name]
}

/**
 * A settings file with these values: lines that set them are replaced in place, missing ones are added at the end, and all
 * other lines stay as they are.
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

/** A line that systemd's EnvironmentFile= and S2 read alike: systemd interprets backslashes and a leading quote. */
function written(name: string, value: string): string {
  const isPlain = !/[\\\n]|^["'\s]|\s$/.test(value)
  if (isPlain) return `${name}=${value}`
  if (!/['\n]/.test(value)) return `${name}='${value}'`
  throw new ConfigError([
    `${name} cannot be written on one line that systemd and S2 read alike: put the value into a script, and name the script`,
  ])
}
