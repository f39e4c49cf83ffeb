package profile

import "slices"

// resolve turns what refers to something into its position, and checks that it
// is there. It comes last because a pprof may hold its messages in any order.
func (d *Decoder) resolve() {
	steps := [...]func() error{d.resolveStrings, d.resolveMappings, d.resolveFunctions, d.resolveLocations, d.checkValues}
	for _, step := range steps {
		if d.err == nil {
			d.err = step()
		}
	}
}

func (d *Decoder) resolveStrings() error {
	p := &d.profile
	d.refersTo(max(p.DropFrames, p.KeepFrames, p.DefaultSampleType, p.DocURL), 0)
	if len(p.Comments) > 0 {
		d.refersTo(slices.Max(p.Comments), 0)
	}
	if n := len(p.Strings); int64(d.topString) >= int64(n) {
		return invalidf("pprof message at byte %d: string %d is not in string_table, which has %d", d.topStringAt, d.topString, n)
	}
	return nil
}

// resolveMappings leaves a location that refers to no known mapping without one,
// as google/pprof does.
func (d *Decoder) resolveMappings() error {
	if err := d.mappings.build("mapping"); err != nil || d.mappings.resolved() {
		return err
	}
	locations := d.profile.Locations
	for i := range locations {
		position, ok := d.mappings.position(uint32(locations[i].Mapping))
		if !ok {
			position = noKey
		}
		locations[i].Mapping = int32(position)
	}
	return nil
}

func (d *Decoder) resolveFunctions() error {
	if err := d.functions.build("function"); err != nil || d.functions.resolved() {
		return err
	}
	p := &d.profile
	for i := range p.Locations {
		for j := p.Locations[i].LineFrom; j < p.Locations[i].LineTo; j++ {
			position, ok := d.functions.position(p.Lines[j].Function)
			if !ok {
				return invalidf("pprof location %d: a line refers to function ID %d, which is not in the profile", i, d.functions.id(p.Lines[j].Function))
			}
			p.Lines[j].Function = position
		}
	}
	return nil
}

func (d *Decoder) resolveLocations() error {
	if err := d.locations.build("location"); err != nil || d.locations.resolved() {
		return err
	}
	p := &d.profile
	for i := range p.NumSamples() {
		stack := p.Stack(i)
		for j, key := range stack {
			position, ok := d.locations.position(key)
			if !ok {
				return invalidf("pprof sample %d: refers to location ID %d, which is not in the profile", i, d.locations.id(key))
			}
			stack[j] = position
		}
	}
	return nil
}

func (d *Decoder) checkValues() error {
	p := &d.profile
	if p.NumSamples() > 0 && (d.valuesEach != len(p.SampleTypes) || d.valuesEach == 0) {
		return invalidf("pprof: samples have %d values, but there are %d sample types", d.valuesEach, len(p.SampleTypes))
	}
	return nil
}
