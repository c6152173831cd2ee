import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { GROUPS } from './groups.ts'
import { mutantsOf, mutated } from './mutants.ts'
import { SURVIVORS } from './survivors.ts'

function mistakes(source: string): string[] {
  return mutantsOf('sample.ts', source).map(({ from, to }) => `${from} => ${to}`)
}

test('each kind of mistake is made', () => {
  assert.deepEqual(mistakes('x = a < b'), ['x = a < b => ;', 'a < b => a <= b', 'a < b => a >= b'])
  assert.deepEqual(mistakes('const x = a && b'), ['a && b => a || b'])
  assert.deepEqual(mistakes('const x = a ?? b'), ['a ?? b => a'])
  assert.deepEqual(mistakes('if (a) throw b'), ['a => !(a)', 'if (a) throw b => ;'])
  assert.deepEqual(mistakes('const x = a ? b : c'), ['a => !(a)'])
  assert.deepEqual(mistakes('await f()'), ['await f() => ;'])
  assert.deepEqual(mistakes('const x = [a, b]'), ['[a, b] => [b]', '[a, b] => [a]'])
  assert.deepEqual(mistakes('const x = true'), ['true => false'])
  assert.deepEqual(mistakes('const x = !a'), ['!a => a'])
  assert.deepEqual(mistakes('const x = Math.min(a, b)'), ['Math.min => Math.max'])
  assert.deepEqual(mistakes('const x = [0, 500]').slice(0, 3), ['[0, 500] => [500]', '[0, 500] => [0]', '0 => 1'])
})

test('types, imports, joined texts and what is logged are no place for a mistake', () => {
  assert.deepEqual(mistakes("import { a } from 'b'\ntype T = true | [0, 1]\nlog.info('a')\nconst x = 'a' + b"), [])
})

test('a mutant lies in its function and its line, and is the text with the mistake', () => {
  const source = 'class A {\n  go() {\n    return 1 < a\n  }\n}\n'
  const [first] = mutantsOf('sample.ts', source)
  assert.ok(first !== undefined)
  assert.deepEqual([first.inside, first.line], ['go', 3])
  assert.equal(mutated(source, first), source.replace('1 < a', '1 <= a'))
})

test('every file and test of the groups is there, and every survivor still names a mutant', () => {
  for (const { files, tests } of GROUPS) {
    for (const name of tests) assert.ok(readFileSync(`test/${name}.test.ts`, 'utf8').length > 0, name)
    for (const file of files) {
      const path = `services/${file}.ts`
      const mutants = mutantsOf(path, readFileSync(path, 'utf8'))
      assert.ok(mutants.length > 0, file)
      for (const { inside, from, to } of SURVIVORS.filter((each) => each.file === file)) {
        const isThere = mutants.some((each) => each.inside === inside && each.from === from && each.to === to)
        assert.ok(isThere, `${file} ${inside}: ${from} => ${to} is no mutant any more: take it off the list`)
      }
    }
  }
})
