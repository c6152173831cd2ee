import { SETTINGS, type Setting } from './settings.ts'

/** The parts of a program that its `--help` shows. */
export interface DescribedProgram {
  readonly name: string
  readonly about: string
  /** Its arguments; absent where it has only settings. */
  readonly usage?: string
  /** How it is stopped. */
  readonly stops: string
}

/** The help of a program: what it does, its arguments, its settings, and how it is stopped. */
export function programHelp({ name, about, usage = '', stops }: DescribedProgram): string {
  const mine = Object.entries(SETTINGS as Readonly<Record<string, Setting>>).filter(([, { programs }]) =>
    (programs as readonly string[]).includes(name),
  )
  const width = Math.max(0, ...mine.map(([setting]) => setting.length))
  const settings = mine.map(([setting, { about: what, fallback, fallbackSaid }]) => {
    const otherwise = fallbackSaid ?? fallback
    return `  ${setting.padEnd(width)}  ${what}${otherwise === undefined ? '' : ` Otherwise ${otherwise}.`}`
  })
  return [
    `Usage: node ${name}.js ${usage === '' ? '[--help | --version | --check]' : usage}`,
    '',
    about,
    '',
    '  -h, --help     show this help',
    '  -V, --version  show the version',
    ...(usage === '' ? ['      --check    tell what is wrong with the settings that are set, and end'] : []),
    '',
    'Settings, from the environment:',
    ...settings,
    '',
    stops,
    '',
    'Exit codes: 0 stopped on request, 1 failed, 64 wrong arguments, 78 wrong settings.',
    '',
  ].join('\n')
}
