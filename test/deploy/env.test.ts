/** `deploy/env.sh`, as people source it. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '../..')

test('the project’s Node is found from each folder of the checkout', () => {
  const line = '. "$0" && node -p process.versions.node && echo "$s2_root"'
  for (const [folder, file] of [
    ['.', './deploy/env.sh'],
    ['examples/first-fleet', '../../deploy/env.sh'],
    ['test', '../deploy/env.sh'],
  ] as const) {
    for (const shell of ['sh', 'bash']) {
      const out = execFileSync(shell, ['-c', line, file], { cwd: join(ROOT, folder), encoding: 'utf8' })
      const [version, root] = out.trimEnd().split('\n')
      assert.ok(Number.parseInt(version ?? '', 10) >= 24, `${shell} in ${folder}: ${version}`)
      assert.equal(root, ROOT)
    }
  }
})

test('the command s2 is that of the checkout, also for what a shell starts with another Node', () => {
  const line = '. ./deploy/env.sh && PATH="$1:$PATH" && command -v s2 && s2 --version'
  const copy = mkdtempSync(join(tmpdir(), 's2-env-'))
  try {
    cpSync(join(ROOT, 'deploy'), join(copy, 'deploy'), { recursive: true })
    symlinkSync(join(ROOT, '.toolchain'), join(copy, '.toolchain'))
    mkdirSync(join(copy, 'old'))
    writeFileSync(join(copy, 'old', 'node'), '#!/bin/sh\necho 18\n', { mode: 0o755 })
    const unbuilt = spawnSync('sh', ['-c', line, 'sh', 'old'], { cwd: copy, encoding: 'utf8' })
    assert.match(unbuilt.stderr, /^s2: it is not built yet\n {2}next: make build, in /)
    mkdirSync(join(copy, 'dist'))
    writeFileSync(join(copy, 'dist', 's2.js'), 'console.log(process.argv[2], parseInt(process.versions.node) >= 24)')
    const built = spawnSync('sh', ['-c', line, 'sh', join(copy, 'old')], { cwd: copy, encoding: 'utf8' })
    assert.equal(built.stdout, `${copy}/deploy/bin/s2\n--version true\n`, built.stderr)
  } finally {
    rmSync(copy, { recursive: true })
  }
})

test('sourced from elsewhere, bash finds it too, and a shell that cannot know says what to do', () => {
  const env = join(ROOT, 'deploy/env.sh')
  const bash = spawnSync('bash', ['-c', '. "$0" && echo "$s2_root"', env], { cwd: '/', encoding: 'utf8' })
  assert.equal(bash.stdout.trimEnd(), ROOT, bash.stderr)
  const dash = spawnSync('/bin/dash', ['-c', '. "$0"; echo "ended with $?"', env], { cwd: '/', encoding: 'utf8' })
  if (dash.error !== undefined) return // no dash here
  assert.equal(dash.stdout, 'ended with 1\n')
  assert.match(dash.stderr, /cd into the folder of the project/)
})

test('each example says how its commands come by that Node, in the folder where they are called', () => {
  for (const readme of globSync('examples/*/README.md', { cwd: ROOT })) {
    const blocks = readFileSync(join(ROOT, readme), 'utf8')
      .split(/\n\n(?! {4})/)
      .filter((block) => /^ {4}.*dist\/s2\.js/m.test(block))
    const [first] = blocks
    assert.ok(first?.includes(`    cd ${dirname(readme)}\n    . ../../deploy/env.sh `), readme)
  }
})
