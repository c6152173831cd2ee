import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type AllowedCommand, GUARD_MODES, isInnerPath, judgeCommand } from '#fleet/guard-rules.ts'

const judge = (mode: 'safe' | 'restricted' | 'open', line: string) => judgeCommand(mode, line.split(' '))

const SAFE = [
  'ls',
  'ls -la src',
  'cat README.md',
  'head -n20 a b',
  'grep -rn login src',
  'git status --short',
  'git log --oneline -n5 main..dev',
  'git diff --cached -- src/a.ts',
  'git show HEAD:README.md',
  'date +%Y',
  'pwd',
]
const RESTRICTED = [
  'git add -A',
  'git add src/a.ts',
  'git commit -m mend',
  'git switch -c topic/x',
  'git restore --staged a',
  'npm ci',
  'npm test',
  'npm run build:all',
  'npm install --save-dev left-pad@1.3.0 @scope/name',
  'pip install requests==2.31.0',
  'pip list',
]
const REFUSED = [
  'cat',
  'cat /etc/passwd',
  'cat ../secret',
  'cat a/../../b',
  'cat ~/.ssh/id',
  'tail -f log',
  'ls --color=always',
  'grep -f /etc/shadow x',
  'grep --include=x y z',
  'date -s 10:00',
  'find . -delete',
  'sh -c id',
  '/bin/ls',
  './ls',
  'env ls',
  'git',
  'git -c core.pager=id log',
  'git --exec-path=/tmp log',
  'git log --output=x',
  'git diff --ext-diff',
  'git diff --no-index a b',
  'git diff /etc/passwd',
  'git log -p --textconv',
  'git push origin main',
  'git fetch',
  'git clone ext::sh',
  'git config alias.x !id',
  'git branch topic',
  'git branch -D main',
  'git commit --no-verify -m x',
  'git commit -F /etc/passwd',
  'git commit -m --amend',
  'git commit -m',
  'git switch -c -x',
  'git add --chmod=+x a',
  'git submodule update',
  'git rev-parse --git-dir --parseopt',
  'npm install',
  'npm install user/repo',
  'npm install ./x',
  'npm install x.tgz',
  'npm install a@npm:b',
  'npm install git+ssh://x',
  'npm install --global x',
  'npm install a@latest|id',
  'npm run a b',
  'npm run -s',
  'npm exec x',
  'npm publish',
  'npm config set x y',
  'pip install .',
  'pip install -r x',
  'pip install evil.whl',
  'pip install a@https://x',
  'pip install --index-url=x a',
  'pip download a',
  'npx x',
  'python -c 1',
  '__proto__',
  'constructor x',
  'toString',
]

for (const line of SAFE)
  test(`safe: ${line}`, () => {
    assert.equal(judge('safe', line).allowed, true)
    assert.equal(judge('restricted', line).allowed, true)
    assert.equal((judge('safe', line) as AllowedCommand).writes, false)
  })
for (const line of RESTRICTED)
  test(`restricted alone: ${line}`, () => {
    assert.equal(judge('safe', line).allowed, false)
    const judged = judge('restricted', line)
    assert.ok(judged.allowed)
    assert.equal(judged.needsSandbox, true)
  })
for (const line of REFUSED)
  test(`refused: ${line}`, () => {
    for (const mode of ['safe', 'restricted'] as const) {
      const judged = judge(mode, line)
      assert.equal(judged.allowed, false, JSON.stringify(judged))
      assert.ok(!judged.allowed && judged.why !== '' && judged.next !== '')
    }
  })

test('open mode runs any program in a sandbox, and no shell', () => {
  assert.deepEqual(judge('open', 'make -j4'), {
    allowed: true,
    argv: ['make', '-j4'],
    paths: [],
    writes: true,
    network: false,
    needsSandbox: true,
  })
  for (const line of ['sh -c id', '/bin/bash', 'busybox sh', '-x', '']) assert.equal(judge('open', line).allowed, false)
})

test('git always runs without hooks, pagers and programs of the repository', () => {
  const judged = judge('safe', 'git diff main')
  assert.ok(judged.allowed)
  const line = judged.argv.join(' ')
  for (const part of [
    '--no-pager',
    'core.hooksPath=/dev/null',
    'core.fsmonitor=false',
    '--no-ext-diff',
    '--no-textconv',
  ])
    assert.ok(line.includes(part), part)
})

test('words that are no words are refused', () => {
  for (const words of [
    [],
    [''],
    ['ls', 'a\0b'],
    ['ls', '\x1b[2J'],
    ['ls', '\ud800'],
    Array(65).fill('ls'),
    ['ls', 'x'.repeat(5000)],
  ])
    for (const mode of GUARD_MODES) assert.equal(judgeCommand(mode, words).allowed, false)
})

/** Spelt again on purpose: every option that anybody may give to an allowed command. */
const OPTIONS_ANYWHERE =
  /^(?:-[A-Za-z0-9]{1,12}|-vv|-n?\d+|--(?:short|branch|porcelain(?:=v[12])?|oneline|graph|stat|name-only|name-status|cached|staged|list|all|show-current|modified|others|exclude-standard|abbrev-ref|show-toplevel|update|allow-empty|worktree|save-dev|save-exact|depth=\d))$/
const FORCED =
  /^(?:--no-pager|--no-optional-locks|--no-ext-diff|--no-textconv|--ignore-submodules=all|--ignore-scripts|--no-audit|--no-fund|--git=false|--isolated|--no-input|--disable-pip-version-check|--only-binary=:all:|--target=site-packages|-c|--)$/
const PROGRAMS = [
  'cat',
  'date',
  'du',
  'grep',
  'head',
  'ls',
  'pwd',
  'sha256sum',
  'stat',
  'tail',
  'uname',
  'wc',
  'git',
  'npm',
  'pip',
]
const DANGEROUS =
  /^(?:-f|-O|-o.+|-p|--output.*|--ext-diff|--textconv|--no-index|--exec.*|--git-dir.*|--work-tree.*|--upload-pack.*|--config.*|--global|--prefix.*|--registry.*|--index-url.*|--amend|--no-verify|--file.*|-F|-r.+|-s.+)$/
const VERBS = [
  'status',
  'log',
  'diff',
  'show',
  'branch',
  'add',
  'commit',
  'switch',
  'restore',
  'ls-files',
  'rev-parse',
  'ls',
  'ci',
  'run',
  'test',
  'install',
  'list',
  'freeze',
  'check',
  'push',
  'config',
  'exec',
]
const BAITS = [
  '/etc/passwd',
  '../x',
  'a/../b',
  '~/.ssh',
  '-c',
  '--',
  '-m',
  '--output=x',
  '-f',
  '-rn',
  '-la',
  'user/repo',
  './x',
  '.',
  '..',
  'x.tgz',
  'a@npm:b',
  'git+ssh://h/x',
  '$(id)',
  '`id`',
  ';',
  '|',
  '&&',
  'a b',
  'main..dev',
  'HEAD:x',
  '',
  '-',
  '--depth=1',
  '--all',
  'ext::sh -c id',
  '@s/n',
  'left-pad@1.0.0',
  'r==1',
  '--target=/',
  'src/a.ts',
  '-n5',
  '--no-index',
  '--ext-diff',
]

test('whatever words come, an allowed command has only known words (100,000 of them and more)', () => {
  const word = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...VERBS) },
    { weight: 6, arbitrary: fc.constantFrom(...BAITS) },
    { weight: 1, arbitrary: fc.string({ maxLength: 12, unit: 'binary' }) },
    { weight: 2, arbitrary: fc.stringMatching(/^-{0,2}[a-zA-Z=./@:]{0,8}$/) },
  )
  const words = fc.tuple(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...PROGRAMS) }, { weight: 1, arbitrary: word }),
    fc.array(word, { maxLength: 6 }),
  )
  let allowed = 0
  let tried = 0
  fc.assert(
    fc.property(fc.constantFrom('safe' as const, 'restricted' as const), words, (mode, [program, args]) => {
      tried += 1
      const judged = judgeCommand(mode, [program, ...args])
      if (!judged.allowed) return
      allowed += 1
      checkAllowed(mode, program, args, judged)
    }),
    { numRuns: 120_000, seed: 20_261_129 },
  )
  assert.ok(tried >= 100_000)
  assert.ok(allowed > 3_000, `only ${allowed} were allowed, so little was checked`)
})

function checkAllowed(mode: string, program: string, args: readonly string[], judged: AllowedCommand): void {
  const told = JSON.stringify([mode, program, args, judged.argv])
  assert.ok(PROGRAMS.includes(program) && judged.argv[0] === program, told)
  if (mode === 'safe') assert.ok(!judged.writes && !judged.network && !['npm', 'pip'].includes(program), told)
  if (['git', 'npm', 'pip'].includes(program)) assert.ok(judged.needsSandbox, told)
  if (program === 'npm' && judged.network)
    for (const always of ['--ignore-scripts', '--git=false']) assert.ok(judged.argv.includes(always), told)
  const message = args.indexOf('-m')
  const free = program === 'grep' ? args.findIndex((word) => !word.startsWith('-')) : message === -1 ? -1 : message + 1
  const beyond = args.indexOf('--') // behind it git takes everything for a path
  args.forEach((word, at) => {
    if (at === free) return
    if (word.startsWith('-') && word !== '--') {
      assert.ok(beyond === -1 || at < beyond, told)
      assert.ok(OPTIONS_ANYWHERE.test(word) || program === 'date', told)
      assert.ok(!['git', 'npm', 'pip'].includes(program) || !DANGEROUS.test(word) || word === '-s', told)
    } else if (program !== 'date') assert.ok(word === '--' || isInnerPath(word) || word.startsWith('@'), told)
    if (program === 'npm' || program === 'pip') assert.ok(!/[:$`;|& ]|\.tgz$|^\./.test(word), told)
  })
  for (const word of judged.argv.slice(1))
    if (word.startsWith('-') && !args.includes(word)) assert.ok(FORCED.test(word), told)
  for (const path of judged.paths) assert.ok(isInnerPath(path), told)
}
