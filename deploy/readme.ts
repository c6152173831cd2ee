import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

/** Puts the table of settings, as the code knows them, into the README; with --check it only says whether it is there. */
const path = new URL('../README.md', import.meta.url)
const command = `${import.meta.dirname}/../services/cli/main.ts`
const table = execFileSync(process.execPath, [command, 'config', '--markdown'], { encoding: 'utf8' })
const text = readFileSync(path, 'utf8')
const wanted = text.replace(
  /(<!-- settings:[^\n]*-->\n)[\s\S]*?(<!-- \/settings -->)/,
  (_, open, close) => `${open}${table}${close}`,
)
if (!wanted.includes(table)) throw new Error('README.md has lost the marks between which the settings stand')
if (process.argv.includes('--check')) {
  if (wanted !== text) {
    process.stderr.write('the settings in README.md are not those of the code: run make readme\n')
    process.exitCode = 1
  }
} else {
  writeFileSync(path, wanted)
}
