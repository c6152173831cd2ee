import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { clientVersion } from '#agents/client-version.ts'

/** A folder with files, and one process as /proc would show it. */
function place(files: Readonly<Record<string, unknown>>, exe: string, argv: readonly string[] = []) {
  const folder = mkdtempSync(join(tmpdir(), 's2-version-'))
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), JSON.stringify(content))
  }
  const proc = join(folder, 'proc')
  mkdirSync(join(proc, '7'), { recursive: true })
  symlinkSync(exe.startsWith('/') ? exe : join(folder, exe), join(proc, '7', 'exe'))
  writeFileSync(join(proc, '7', 'cmdline'), `${['client', ...argv.map((each) => join(folder, each))].join('\0')}\0`)
  return { folder, proc, [Symbol.dispose]: () => rmSync(folder, { recursive: true }) }
}

const CODEX = 'lib/@openai/codex-linux-x64'
const PROGRAM = `${CODEX}/vendor/x86_64-unknown-linux-musl/bin/codex`

test('Codex is known by the file that lies beside its program, and by its package of npm', () => {
  using own = place({ [`${dirname(dirname(PROGRAM))}/codex-package.json`]: { version: '0.171.0' } }, PROGRAM)
  assert.equal(clientVersion('codex', 7, own.proc), '0.171.0')
  const npm = { name: '@openai/codex', version: '0.172.1-linux-x64' }
  using packed = place({ [`${CODEX}/package.json`]: npm }, PROGRAM)
  assert.equal(clientVersion('codex', 7, packed.proc), '0.172.1')
})

test('a client that an interpreter runs is known by its script, behind a link', () => {
  const files = {
    'lib/gemini/package.json': { name: '@google/gemini-cli', version: '0.61.0' },
    'lib/gemini/dist/x.js': 0,
  }
  using gemini = place(files, '/usr/bin/node', ['bin/gemini'])
  mkdirSync(join(gemini.folder, 'bin'))
  symlinkSync(join(gemini.folder, 'lib/gemini/dist/x.js'), join(gemini.folder, 'bin/gemini'))
  assert.equal(clientVersion('gemini', 7, gemini.proc), '0.61.0')
})

test('another package, one that is far above, a program that was replaced and nonsense say nothing', () => {
  using other = place({ 'project/package.json': { name: 'mine', version: '1.0.0' } }, 'project/bin/codex')
  assert.equal(clientVersion('codex', 7, other.proc), null)
  using far = place({ 'package.json': { name: '@openai/codex', version: '1.0.0' } }, 'a/b/c/d/e/f/g/codex')
  assert.equal(clientVersion('codex', 7, far.proc), null)
  using replaced = place(
    { [`${CODEX}/package.json`]: { name: '@openai/codex', version: '1.0.0' } },
    `${PROGRAM} (deleted)`,
  )
  assert.equal(clientVersion('codex', 7, replaced.proc), null)
  for (const version of ['latest', '1.0', 7, '1.0.0 \u001b[31m', `1.0.0-${'x'.repeat(500)}`]) {
    using odd = place({ [`${CODEX}/package.json`]: { name: '@openai/codex', version } }, PROGRAM)
    assert.equal(clientVersion('codex', 7, odd.proc), null)
  }
  assert.equal(clientVersion('codex', 8, other.proc), null)
})
